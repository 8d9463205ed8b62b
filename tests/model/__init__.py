"""The protocol of floating seats as a model that is walked exhaustively, and its walks as tests."""
