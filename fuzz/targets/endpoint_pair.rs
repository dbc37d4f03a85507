#![no_main]
paceline_fuzz::target!(endpoint_pair);
