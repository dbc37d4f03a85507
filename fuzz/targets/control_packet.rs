#![no_main]
paceline_fuzz::target!(control_packet);
