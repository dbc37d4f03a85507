#![no_main]
paceline_fuzz::target!(sent_map);
