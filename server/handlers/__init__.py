"""One small function per Web API method: gather the facts, let a rule decide, hand back the reply. No decisions here."""
