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
use Encode qw(decode);

binmode STDIN;
binmode STDOUT, ':encoding(UTF-8)';
my $msgpack = Data::MessagePack->new->utf8;

# Return the events of a message of shape `event` or `batch`; of a report, none.
sub events {
    my ($message) = @_;
    return () if $message->{kind} eq 'report';
    return ($message) if $message->{kind} ne 'batch';
    # These columns are of all events; one of some says of which groups.
    my @kinds = map { ($_->{kind}) x $_->{count} } @{ $message->{groups} };
    my %column =
      map { $_ => [ values_of($message->{columns}{$_}, scalar @kinds) ] } qw(cpu seq pid comm);
    my @events;
    for my $at (0 .. $#kinds) {
        my %event = (kind => $kinds[$at], map { $_ => $column{$_}[$at] } keys %column);
        $event{comm} = decode('UTF-8', $event{comm}, sub { sprintf '\\x%02x', shift });
        push @events, \%event;
    }
    return @events;
}

# Return the values of a column of a `batch`, which lie side by side, little-endian.
sub values_of {
    my ($column, $count) = @_;
    my %letter = (u8 => 'C', u16 => 'S<', u32 => 'L<', u64 => 'Q<', 'char[16]' => 'Z16');
    %letter = (%letter, i8 => 'c', i16 => 's<', i32 => 'l<');
    my ($encoding, $data) = ($column->{encoding} // '', $column->{data});
    my $letter = $letter{ $column->{written} // $column->{type} };
    if ($column->{layout}) {    # the first byte of each, then the second of each, and so on
        my $written = length($data) / length pack $letter, 0;
        my @planes = unpack "(a$written)*", $data;
        $data = join '', map { my $at = $_; map { substr $_, $at, 1 } @planes } 0 .. $written - 1;
    }
    $letter = lc $letter if $encoding eq 'delta';    # signed: a step may go back
    my @found = unpack "($letter)*", $data;
    return (@found) x $count if $encoding eq 'constant';
    return @found if $encoding ne 'delta';
    my $total = $column->{base} // 0;
    my $most = $column->{type} eq 'u64' ? ~0 : 0xffffffff;
    return map { $total += $_; $total & $most } @found;    # each is a step from the one before
}

while (read STDIN, my $head, 4) {
    my $length = unpack 'N', $head;
    my $got = read STDIN, my $value, $length;
    die "a value is cut short\n" if $got != $length;
    for my $event (events($msgpack->unpack($value))) {
        print join(' ', @{$event}{qw(kind cpu seq pid comm)}), "\n";
    }
}
