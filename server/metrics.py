"""Every Prometheus metric of a worker and of the supervisor, declared once. Label values come from closed sets only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WORKER = CollectorRegistry(auto_describe=True)
SUPERVISOR = CollectorRegistry(auto_describe=True)

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

calls = Counter(
    "keyturn_calls", "Calls answered, by method and by the message they were answered with.", ["method", "code"],
    registry=WORKER,
)
refused_by_server = Counter(
    "keyturn_refused_requests", "Requests that the server itself refused (never reached a rule), by cause.", ["cause"],
    registry=WORKER,
)
stage_seconds = Histogram(
    "keyturn_stage_seconds",
    "Time of a call by stage: facts (the token found), decide (waiting, rule, commit), sign (document and signature), "
    "whole (all of it, without HTTP).",
    ["stage"], buckets=SECONDS, registry=WORKER,
)
facts_seconds, decide_seconds, sign_seconds, whole_seconds = map(stage_seconds.labels, ("facts", "decide", "sign", "whole"))
batch_calls = Histogram(
    "keyturn_ledger_batch_calls", "Calls in one batch of the ledger.", buckets=SIZES, registry=WORKER,
)
commit_seconds = Histogram(
    "keyturn_ledger_commit_seconds", "One batch: sent, written, committed, answered.", buckets=SECONDS, registry=WORKER,
)
queue_calls = Gauge(
    "keyturn_ledger_waiting_calls", "Calls that wait for the ledger, those under way too.", registry=WORKER,
)
stale_verdicts = Counter(
    "keyturn_ledger_stale_verdicts", "Verdicts that no longer held when they came to be committed.", registry=WORKER,
)
batches = Counter(
    "keyturn_ledger_batches",
    "Batches by what became of them: committed, checked (nothing to write), unknown (connection lost), settled (was "
    "committed after all), abandoned, split (an entry was at fault), failed, contended (decided under the lock).",
    ["outcome"], registry=WORKER,
)
license_loads = Counter(
    "keyturn_license_loads", "Licenses read from PostgreSQL because memory had none, or an old one.", registry=WORKER,
)
postgres_up = Gauge("keyturn_postgres_up", "Connections of the ledger that stand, of this worker.", registry=WORKER)
barrier_seconds = Histogram(
    "keyturn_barrier_seconds", "How long a reader of the log waited for the writers that began before it.",
    buckets=SECONDS, registry=WORKER,
)
sign_batch = Histogram(
    "keyturn_sign_batch", "Signatures that were asked for in one turn of the event loop.", buckets=SIZES, registry=WORKER,
)

engine_restarts = Counter(
    "keyturn_engine_restarts", "Embedded engines that ended by themselves and were started again.", ["engine"],
    registry=SUPERVISOR,
)
engine_up = Gauge("keyturn_engine_up", "Whether the engine answers.", ["engine"], registry=SUPERVISOR)
worker_restarts = Counter(
    "keyturn_worker_restarts", "Workers that ended by themselves and were started again.", registry=SUPERVISOR,
)
workers_ready = Gauge("keyturn_workers_ready", "Workers that serve.", registry=SUPERVISOR)
partition_days = Gauge(
    "keyturn_log_partition_days", "Days ahead of now for which the log has partitions; without one no call is logged.",
    registry=SUPERVISOR,
)
