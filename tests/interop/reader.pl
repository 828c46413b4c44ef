#!/usr/bin/perl
# Print the events of a topic, a line each: kind, cpu, seq, pid, comm.
#
#   kcat -C -e -q -b BOOTSTRAP -t TOPIC -f '%R%s' | perl reader.pl
#
# %R is the length of a value, 4 bytes in network order, and %s the value. Needs Debian's
# libdata-messagepack-perl; the shapes are described in docs/messages.md.
use strict;
use warnings;
use Data::MessagePack;

binmode STDIN;
binmode STDOUT, ':encoding(UTF-8)';
my $msgpack = Data::MessagePack->new->utf8;

# Return the events of a message of shape `event` or `batch`; of a report, none.
sub events {
    my ($message) = @_;
    return () if $message->{kind} eq 'report';
    return ($message) if $message->{kind} ne 'batch';
    my @events;
    for my $group (@{ $message->{groups} }) {
        for my $row (@{ $group->{rows} }) {
            my %event = (kind => $group->{kind});
            @event{ @{ $group->{fields} } } = @$row;
            $event{comm} = $message->{strings}[$event{comm}];
            push @events, \%event;
        }
    }
    return @events;
}

while (read STDIN, my $head, 4) {
    my $length = unpack 'N', $head;
    my $got = read STDIN, my $value, $length;
    die "a value is cut short\n" if $got != $length;
    for my $event (events($msgpack->unpack($value))) {
        print join(' ', @{$event}{qw(kind cpu seq pid comm)}), "\n";
    }
}
