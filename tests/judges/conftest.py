from judging import make
from served import clock, environment, make_httpserver, serve

__all__ = ["clock", "environment", "make", "make_httpserver", "serve"]
