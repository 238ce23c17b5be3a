from served import clock, environment, make_httpserver, serve

__all__ = ["clock", "environment", "make_httpserver", "serve"]
