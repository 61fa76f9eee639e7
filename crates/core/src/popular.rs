//! Ports that are worth a look first on a host one does not know: those of services that are met most often.
//!
//! Source: our own judgement from the services that Debian, Red Hat, Windows Server, network devices and container
//! platforms run by default; IANA's registry for the numbers. No survey of the Internet, and none's list.

use crate::socket::Transport;

/// TCP, the most often met first.
static TCP: &[u16] = &[
    80, 443, 22, 445, 3389, 21, 25, 53, 110, 143, 139, 135, 8080, 23, 993, 995, 587, 3306, 111, 5432, 8443,
    389, 636, 5900, 1433, 6379, 2049, 88, 465, 631, 8000, 8888, 9090, 27017, 5060, 554, 179, 9200, 5985,
    5986, 3268, 3269, 464, 593, 10000, 8081, 9100, 1723, 3128, 5672, 1883, 11211, 6443, 2379, 10250, 9000,
    3000, 5000, 5601, 15672, 1521, 873, 548, 515, 119, 113, 199, 427, 513, 514, 512, 543, 544, 79, 37, 13, 7,
    9, 81, 88, 106, 144, 990, 992, 989, 902, 912, 1080, 1194, 1352, 1434, 1720, 1755, 1900, 2000, 2001, 2121,
    2181, 2222, 2375, 2376, 2380, 3001, 3050, 3260, 3690, 4369, 4443, 4444, 4505, 4506, 4848, 5001, 5009,
    5044, 5051, 5061, 5101, 5190, 5222, 5269, 5357, 5555, 5631, 5666, 5671, 5800, 5901, 5984, 6000, 6001,
    6646, 6660, 6667, 6697, 7000, 7001, 7070, 7077, 7443, 7474, 7687, 8001, 8008, 8009, 8010, 8020, 8031,
    8082, 8083, 8086, 8088, 8089, 8090, 8091, 8123, 8126, 8139, 8140, 8161, 8181, 8200, 8291, 8300, 8333,
    8400, 8484, 8500, 8530, 8531, 8600, 8649, 8728, 8834, 8883, 9001, 9009, 9042, 9080, 9091, 9092, 9093,
    9160, 9300, 9389, 9418, 9443, 9999, 10001, 10255, 10256, 10443, 11434, 15671, 16010, 16379, 18080, 25565,
    26379, 27018, 28017, 30000, 32400, 32768, 44818, 47001, 49152, 49153, 49154, 49155, 49156, 49157, 49664,
    49665, 49666, 49667, 49668, 49669, 50000, 50070, 54321, 61616, 62078,
];

/// UDP, the most often met first.
static UDP: &[u16] = &[
    53, 123, 161, 137, 67, 500, 5353, 1900, 138, 69, 514, 4500, 111, 389, 88, 1434, 3478, 5060, 162, 68, 520,
    1194, 1701, 1812, 1813, 51820, 443, 5355, 623, 3702, 464, 2049, 177, 427, 631, 749, 4789, 6081, 8472,
    6343, 2055, 9995, 5351, 1645, 1646, 19, 7, 13, 37, 17, 135, 139, 445, 593, 593, 1433, 1604, 3389, 3283,
    5683, 11211, 17185, 27015, 30718, 33434, 34964, 47808, 49152, 5632, 10000, 20000, 26000, 998, 999, 1718,
    1719, 2222, 2223, 3456, 5000, 5061, 5093, 6346, 9200, 9876, 10001, 10080, 32768, 32769, 49153, 49154,
    64738, 65024, 1645, 4045, 646, 1985, 3784, 3785, 1967, 1029, 1025, 1026, 1027, 1028, 1030, 1900,
];

/// The ports of a transport, the most often met first, each once.
pub fn popular(transport: Transport) -> Vec<u16> {
    let list = match transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    };
    let mut ports = Vec::with_capacity(list.len());
    for &port in list {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_for_a_first_look_and_none_twice() {
        for (transport, least) in [(Transport::Tcp, 200), (Transport::Udp, 90)] {
            let ports = popular(transport);
            assert!(ports.len() >= least, "{transport}: {}", ports.len());
            let mut sorted = ports.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), ports.len());
            assert!(!ports.contains(&0));
        }
    }
}
