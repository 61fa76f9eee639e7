//! `who` on the machine made by hand: holders, carriers, reach, and nobody.

use super::*;
use crate::fixture::{machine, services, valid_json, written};

fn who(words: &[&str]) -> Report {
    let wanted: Vec<Wanted> = words.iter().map(|word| word.parse().unwrap()).collect();
    report(&wanted, &machine(), &services())
}

#[test]
fn a_shared_port_names_every_holder() {
    let report = who(&["80"]);
    assert_eq!(report.exit, Exit::Fine);
    insta::assert_snapshot!(written(&report, "table"), @r"
    80/tcp (http)   held by 3 processes
      holder    nginx (pid 70, nginx.service)   listens on 0.0.0.0, ::
                  command    nginx: master process /usr/sbin/nginx
                  user       root
                  since      2026-02-26 12:00:00 UTC (2 d 22 h)
                  unit       nginx.service
      holder    nginx (pid 71, nginx.service)   listens on 0.0.0.0, ::; 2 connections (2 ESTABLISHED)
                  command    nginx: worker process
                  user       www-data
                  since      2026-02-26 11:00:00 UTC (2 d 23 h)
                  unit       nginx.service
      holder    nginx (pid 72, nginx.service)   listens on 0.0.0.0, ::
                  command    nginx: worker process
                  user       www-data
                  since      2026-02-26 10:00:00 UTC (3 d 0 h)
                  unit       nginx.service
      reachable through every address of this machine
      firewall  the local firewall lets it in
                  inet filter input policy accept

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn hidden_holders_carriers_and_containers_are_told() {
    insta::assert_snapshot!(written(&who(&["53/udp", "8443", "9000"]), "table"), @r"
    53/udp (domain)   held; its owner: not visible (systemd-resolved.service)
      holder    not visible (systemd-resolved.service)   listens on 0.0.0.0
      reachable through every address of this machine
      firewall  the local firewall lets it in
                  inet filter input policy accept

    8443/tcp   held by no socket, carried for others
      carrier   the firewall's DNAT rule ip nat DOCKER: tcp dport 8443 dnat to 172.17.0.2:443 for
                  172.17.0.2:443

    9000/tcp   held by node (pid 80, docker 3f2a9c01b7de)
      holder    node (pid 80, docker 3f2a9c01b7de)   listens on ::1
                  command    node server.js
                  user       node
                  since      2026-02-26 02:00:00 UTC (3 d 8 h)
                  container  docker 3f2a9c01b7de
      reachable from this machine only
      firewall  the local firewall lets it in
                  inet filter input policy accept

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn leftovers_are_no_holder() {
    let report = who(&["40001"]);
    assert_eq!(report.exit, Exit::Not);
    insta::assert_snapshot!(written(&report, "table"), @r"
    40001/tcp   no process holds it; old connections linger
      holder    no process   1 connection (1 TIME_WAIT)

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn a_port_of_nobody_ends_with_1() {
    let report = who(&["81", "80"]);
    assert_eq!(report.exit, Exit::Not);
    let value = valid_json(&report, "who");
    assert_eq!(value["nobody"], serde_json::json!(["81"]));
    assert_eq!(value["ports"][0]["holders"][0]["owner"]["pid"], 70);
    assert_eq!(value["ports"][0]["reach"], "all");
}

#[test]
fn csv_has_a_row_for_each_holder() {
    insta::assert_snapshot!(written(&who(&["80-9000"]), "csv"), @r#"
    port,transport,reach,owner_state,pid,name,command,user,unit,container,use
    80,tcp,all,seen,70,nginx,nginx: master process /usr/sbin/nginx,root,nginx.service,,"listens on 0.0.0.0, ::"
    80,tcp,all,seen,71,nginx,nginx: worker process,www-data,nginx.service,,"listens on 0.0.0.0, ::; 2 connections (2 ESTABLISHED)"
    80,tcp,all,seen,72,nginx,nginx: worker process,www-data,nginx.service,,"listens on 0.0.0.0, ::"
    5432,tcp,loopback,seen,60,postgres,/usr/lib/postgresql/16/bin/postgres,postgres,postgresql.service,,listens on 127.0.0.1
    8080,tcp,one address,seen,90,"ev\u{1b}]0;il\u{7},\u{202e}x","'=evil ""quoted""\n",mallory,,,listens on 10.0.0.5
    8443,tcp,,,,,,,,,the firewall's DNAT rule ip nat DOCKER: tcp dport 8443 dnat to 172.17.0.2:443 for 172.17.0.2:443
    9000,tcp,loopback,seen,80,node,node server.js,node,,docker 3f2a9c01b7de,listens on ::1
    "#);
}

#[test]
fn a_wrong_port_is_answered_with_what_to_type() {
    let error = |text: &str| text.parse::<Wanted>().unwrap_err();
    assert_eq!(
        error("0"),
        "port 0 names no port; ports are 1 to 65535; type a port as in: portolan who 53/udp"
    );
    assert_eq!(error("53/icmp"), "'icmp' is no transport; use tcp or udp");
}
