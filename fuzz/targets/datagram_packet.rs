#![no_main]
paceline_fuzz::target!(datagram_packet);
