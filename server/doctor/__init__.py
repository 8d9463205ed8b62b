"""`keyturn doctor`: what it reads (`look`, `host`) and what it makes of that (`checks`), each without the other."""
