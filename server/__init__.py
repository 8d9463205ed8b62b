"""The Keyturn server: rules, wire format, methods and the processes that run them."""
