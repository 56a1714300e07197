# An agent as small as one that listens can be: of it a machine bears thousands. One fixed answer, one request a
# connection.
use strict;
use warnings;
use Socket;

$SIG{PIPE} = 'IGNORE';
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, pack('l', 1)) or die "setsockopt: $!";
bind($listener, sockaddr_in($ENV{PORT}, inet_aton($ENV{HOST} || '127.0.0.1'))) or die "bind: $!";
listen($listener, 128) or die "listen: $!";
while (1) {
    accept(my $connection, $listener) or next;
    sysread($connection, my $request, 65536);
    my $body = $ENV{ANSWER} || 'one';
    my $length = length $body;
    syswrite($connection, "HTTP/1.1 200 OK\r\ncontent-length: $length\r\nconnection: close\r\n\r\n$body");
    close $connection;
}
