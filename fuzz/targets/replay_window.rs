#![no_main]
paceline_fuzz::target!(replay_window);
