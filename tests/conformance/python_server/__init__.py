"""The two HTTP/2 engines that are reached from Python, hyper-h2 and libnghttp2, as one server program."""
