"""The bounds of the platform's own web servers, and the answers beyond them. Standard library only."""

MOST_CONNECTIONS = 400  # at once: a page that is open has one or two
REQUEST_SECONDS = 20.0  # until the head of a request is whole, of a new connection or after an answer
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TEXT = b"too many connections are open; try again soon\n"
TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: %d\r\n"
    b"Content-Type: text/plain\r\nConnection: close\r\n\r\n%b" % (len(_TEXT), _TEXT)
)
