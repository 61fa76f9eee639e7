//! What a Samba Active Directory domain controller says to `portolan probe`, against what the reference clients show of
//! the same one: ldapsearch, rpcclient, samba-tool, nmblookup, kinit.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

use portolan_testbed::servers::{domain_controller, installed};
use portolan_testbed::{Answer, Namespace, program};
use serde_json::Value;

const CONTROLLER: &str = "10.85.0.2";

/// A client's namespace with a cable to a domain controller.
struct Lab {
    client: Namespace,
}

impl Lab {
    fn says(&self, program: &str, package: &str, arguments: &[&str]) -> String {
        says(self.client.command(installed(program, package)).args(arguments))
    }

    /// The answer of one port.
    #[track_caller]
    fn probe(&self, port: &str, more: &[&str]) -> Value {
        let mut command = self.client.command(program("portolan"));
        command.args(["probe", CONTROLLER, "--json", "-p", port]).args(more);
        let json = Answer::of(&mut command).with_code(0).json();
        let result = &json["results"][0];
        assert_eq!(result["state"], "open", "{json:#}");
        result["answer"].clone()
    }
}

/// What a program says, on both of its outputs.
fn says(command: &mut Command) -> String {
    let output = command.output().expect("it was found");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn what_reference_clients_show_of_a_domain_controller_is_what_probe_shows() {
    let (client, host) = (Namespace::new(), Namespace::new());
    client.link("10.85.0.1/24", &host, "10.85.0.2/24");
    let controller = domain_controller(&host, Ipv4Addr::new(10, 85, 0, 2));
    let lab = Lab { client };
    the_root_dse_is_ldapsearchs(&lab);
    the_netlogon_answer_is_samba_tools(&lab);
    the_endpoints_are_rpcclients(&lab);
    the_names_are_nmblookups(&lab);
    a_user_that_kinit_does_not_find_is_unknown(&lab);
    the_file_server_wants_signing(&lab);
    drop(controller);
}

fn the_root_dse_is_ldapsearchs(lab: &Lab) {
    let url = format!("ldap://{CONTROLLER}");
    let arguments = ["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &url, "-s", "base", "-b", "", "*", "+"];
    let said = lab.says("ldapsearch", "ldap-utils", &arguments);
    // What changes between two questions is left out.
    let is_steady =
        |line: &String| !line.starts_with("currentTime") && !line.starts_with("highestCommittedUSN");
    let expected: BTreeSet<String> =
        said.lines().filter(|line| line.contains(": ")).map(str::to_owned).filter(is_steady).collect();
    assert!(expected.len() > 25, "{said}");
    for port in ["389", "3268", "636", "3269"] {
        let answer = lab.probe(port, &[]);
        assert_eq!(answer["protocol"], "ldap");
        assert_eq!(answer["fields"]["result_code"], "success");
        let attributes = answer["fields"]["attributes"].as_object().expect("attributes");
        let shown: BTreeSet<String> = attributes
            .iter()
            .flat_map(|(name, values)| {
                let values = values.as_array().expect("a list").iter();
                values.map(move |value| format!("{name}: {}", value.as_str().expect("text")))
            })
            .filter(is_steady)
            .collect();
        assert_eq!(shown, expected, "port {port}");
        assert_eq!(answer["fields"]["tls"].is_object(), ["636", "3269"].contains(&port));
    }
}

fn the_netlogon_answer_is_samba_tools(lab: &Lab) {
    let said = lab.says("samba-tool", "samba-common-bin", &["domain", "info", CONTROLLER]);
    let told = lab.probe("389/udp", &[])["fields"].clone();
    assert_eq!(told["attributes"]["dnsHostName"], serde_json::json!(["dc1.lab.test"]));
    for (line, field) in [
        ("Forest", "dns_forest_name"),
        ("Domain", "dns_domain_name"),
        ("Netbios domain", "netbios_domain_name"),
        ("DC name", "dns_host_name"),
        ("DC netbios name", "netbios_computer_name"),
        ("Server site", "dc_site_name"),
        ("Client site", "client_site_name"),
    ] {
        let lines = said.lines().filter_map(|line| line.split_once(" : "));
        let expected = lines.map(|(name, value)| (name.trim(), value)).find(|(name, _)| *name == line);
        assert_eq!(told["netlogon"][field].as_str(), expected.map(|(_, value)| value), "{line}: {said}");
    }
    // A controller of this domain does not answer for another one.
    let other = lab.probe("389/udp", &["--set", "domain=other.test"])["fields"].clone();
    assert!(other["attributes"].is_object() && other["netlogon"].is_null(), "{other:#}");
}

fn the_endpoints_are_rpcclients(lab: &Lab) {
    let binding = format!("ncacn_ip_tcp:{CONTROLLER}");
    let said = lab.says("rpcclient", "smbclient", &["-U%", "-N", &binding, "-c", "epmlookup"]);
    // OBJECT ncacn_ip_tcp:0.0.0.0[49153,abstract_syntax=UUID/0x00000005]: ANNOTATION
    let expected: Vec<String> = said
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(' ')?;
            let (binding, rest) = rest.split_once(",abstract_syntax=")?;
            let (uuid, rest) = rest.split_once('/')?;
            let (version, annotation) = rest.split_once("]: ")?;
            let version = u32::from_str_radix(version.strip_prefix("0x")?, 16).ok()?;
            Some(format!("{uuid} {}.{} {binding}] {annotation}", version & 0xffff, version >> 16))
        })
        .collect();
    assert!(expected.len() > 40, "{said}");
    let told = lab.probe("135", &[])["fields"].clone();
    assert_eq!((&told["complete"], &told["total_endpoints"]), (&true.into(), &expected.len().into()));
    let text = |endpoint: &Value, field: &str| endpoint[field].as_str().unwrap_or_default().to_owned();
    let shown: Vec<String> = told["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|endpoint| {
            let [uuid, version, binding, annotation] =
                ["uuid", "version", "binding", "annotation"].map(|field| text(endpoint, field));
            format!("{uuid} {version} {binding} {annotation}")
        })
        .collect();
    assert_eq!(shown, expected);
    let port =
        told["endpoints"].as_array().expect("a list").iter().find_map(|endpoint| endpoint["port"].as_u64());
    assert!(port.is_some_and(|port| port > 1024), "a dynamic port is a number");
}

fn the_names_are_nmblookups(lab: &Lab) {
    // The controller registers its names one after the other: what counts is an answer between two equal ones.
    let ask = || lab.says("nmblookup", "samba-common-bin", &["-A", CONTROLLER]);
    let (said, told) = (0..100)
        .map(|_| (ask(), lab.probe("137/udp", &[])["fields"].clone(), ask()))
        .find(|(before, _, after)| before == after)
        .map(|(said, told, _)| (said, told))
        .expect("the names settle");
    // NAME <00> - <GROUP> M <ACTIVE> <PERMANENT>
    let expected: Vec<String> = said
        .lines()
        .filter(|line| line.contains("<ACTIVE>"))
        .map(|line| {
            let (name, rest) = line.trim().split_once('<').expect("a suffix");
            let group = if rest.contains("<GROUP>") { "group" } else { "unique" };
            format!("{} {} {group}", name.trim(), &rest[..2])
        })
        .collect();
    assert!(expected.len() >= 2, "{said}");
    let shown: Vec<String> = told["names"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| {
            let group = if name["group"] == true { "group" } else { "unique" };
            let text = |field: &str| name[field].as_str().expect("text");
            format!("{} {} {group}", text("name"), text("suffix"))
        })
        .collect();
    assert_eq!(shown, expected);
    let card = told["unit_id"].as_str().expect("text").to_uppercase().replace(':', "-");
    assert!(said.contains(&format!("MAC Address = {card}")), "{card}: {said}");
}

fn a_user_that_kinit_does_not_find_is_unknown(lab: &Lab) {
    for port in ["88", "88/udp"] {
        let told = lab.probe(port, &["--set", "realm=LAB.TEST"])["fields"].clone();
        assert_eq!(told["error_code"], "KDC_ERR_C_PRINCIPAL_UNKNOWN");
        let offset = told["offset_ms"].as_i64().expect("a number");
        assert!(offset.abs() < 10_000, "{told:#}");
        let told = lab.probe(port, &["--set", "realm=LAB.TEST", "--set", "user=administrator"]);
        assert_eq!(told["fields"]["error_code"], "KDC_ERR_PREAUTH_REQUIRED");
        let etypes = told["fields"]["etypes"].as_array().expect("a list");
        assert!(etypes.contains(&"aes256-cts-hmac-sha1-96".into()), "{told:#}");
    }
    let folder = std::env::temp_dir().join(format!("plt-kinit-{}", std::process::id()));
    std::fs::write(
        &folder,
        format!("[libdefaults]\ndns_lookup_kdc = false\n[realms]\nLAB.TEST = {{\nkdc = {CONTROLLER}\n}}\n"),
    )
    .expect("the temporary folder can be written");
    let mut command = lab.client.command(installed("kinit", "krb5-user"));
    let said = says(command.arg("portolan-probe@LAB.TEST").env("KRB5_CONFIG", &folder));
    std::fs::remove_file(folder).expect("it was written");
    assert!(said.contains("not found in Kerberos database"), "{said}");
}

fn the_file_server_wants_signing(lab: &Lab) {
    for port in ["445", "139"] {
        let told = lab.probe(port, &[])["fields"].clone();
        assert_eq!(told["dialect_revision"], "3.1.1");
        assert_eq!(told["signing_required"], true, "a domain controller's default");
        assert!(told["mechanisms"].as_array().expect("a list").contains(&"Kerberos 5".into()));
        assert!(told["offset_ms"].as_i64().is_some_and(|offset| offset.abs() < 10_000));
    }
}
