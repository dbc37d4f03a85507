#![no_main]
paceline_fuzz::target!(stream_packet);
