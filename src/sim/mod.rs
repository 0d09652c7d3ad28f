//! The simulated shell: a seeded world of disks, links, clocks and clients.
