#![no_main]
paceline_fuzz::target!(handshake_responder);
