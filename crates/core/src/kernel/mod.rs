//! What systems hand out, decoded from bytes or text: one format a file.

pub mod btf;
pub mod cgroup;
pub mod counters;
pub mod dism;
pub mod docker;
pub mod error_code;
pub mod error_queue;
pub mod http_servicestate;
pub mod inet_diag;
pub mod iptables;
pub mod malformed;
pub mod mib;
pub mod netsh;
pub mod nftables;
pub mod packet_filter;
pub mod passwd;
pub mod portproxy;
pub mod proc_fd;
pub mod proc_net;
pub mod procfs;
pub mod services;
pub mod sysctl;
pub mod systemd_socket;
pub mod systemd_unit;
pub mod task_scheduler;
pub mod windows_firewall;
