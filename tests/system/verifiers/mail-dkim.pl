#!/usr/bin/perl
# Has Mail::DKIM check the first signature of a message: mail-dkim.pl FILE ZONE
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::RR;

my ($file, $zone_file) = @ARGV;
my %zone;
open my $lines, '<', $zone_file or die "$zone_file: $!\n";
while (my $line = <$lines>) {
    chomp $line;
    my ($name, $kind, $text) = split / /, $line, 3;
    $zone{lc $name} = $text if $kind eq 'TXT';
}
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name, $kind) = @_;
        my $text = $zone{ lc $name };
        $@ = defined $text ? 'NOERROR' : 'NXDOMAIN';
        return unless defined $text;
        return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [unpack '(a255)*', $text]);
    };
}

open my $message, '<:raw', $file or die "$file: $!\n";
my $verifier = Mail::DKIM::Verifier->new;
$verifier->load($message);
my ($signature) = $verifier->signatures;
my $result = $signature ? $signature->result_detail : 'none';
$result =~ s/^invalid \(unsupported algorithm/unsupported (algorithm/;
print "$result\n";
