#![no_main]
paceline_fuzz::target!(secret_control_packet);
