//! A service that holds a port, registered with Wine's own service manager: named, stopped through the manager, started
//! again. This test program is the service, started once more by the manager.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use windows_service::service::{
    ServiceAccess, ServiceControl, ServiceControlAccept, ServiceErrorControl, ServiceExitCode, ServiceInfo,
    ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{ServiceControlHandlerResult, register};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::wine::{Answer, Machine, Once, finish, tool};

const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);
/// Words behind which the service finds its folder; the test harness, which reads them too, skips no test of that name.
const FOLDER: &str = "--skip";

define_windows_service!(main_of_service, serve);

/// Not a test: what the service manager starts.
#[test]
#[ignore = "a program for the service manager"]
fn serves() {
    if std::env::args().any(|word| word == FOLDER) {
        let _ = service_dispatcher::start("", main_of_service);
    }
}

fn folder_of_service() -> PathBuf {
    std::env::args().skip_while(|word| word != FOLDER).nth(1).unwrap().into()
}

/// Holds the port that the folder's file names, until it is told to stop; a file `slow` there has it wait for another one,
/// `let-go`, before it does.
fn serve(_arguments: Vec<OsString>) {
    let folder = folder_of_service();
    let (stop, stopped) = mpsc::channel();
    let handler = register("", move |control| match control {
        ServiceControl::Stop => {
            let _ = stop.send(());
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    })
    .unwrap();
    let tell = |current_state, accepted| {
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted: accepted,
            exit_code: ServiceExitCode::Win32(0),
            checkpoint: 0,
            wait_hint: PATIENCE,
            process_id: None,
        };
        handler.set_service_status(status).unwrap();
    };
    let port: u16 = fs::read_to_string(folder.join("port")).unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    tell(ServiceState::Running, ServiceControlAccept::STOP);
    stopped.recv().unwrap();
    tell(ServiceState::StopPending, ServiceControlAccept::empty());
    while folder.join("slow").exists() && !folder.join("let-go").exists() {
        sleep(INTERVAL);
    }
    drop(listener);
    tell(ServiceState::Stopped, ServiceControlAccept::empty());
}

/// A service that runs; stopped and deleted with this value.
struct Service {
    name: String,
    folder: PathBuf,
    port: u16,
}

impl Service {
    fn new(name: &str) -> Self {
        let name = format!("portolan-{name}");
        // Of a run that was cut off.
        tool("net.exe", &["stop", &name]);
        tool("sc.exe", &["delete", &name]);
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(folder.join("port"), port.to_string()).unwrap();
        let manager = ServiceManager::local_computer(
            None::<&str>,
            ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE,
        )
        .unwrap();
        let words = ["--ignored", "--exact", "service::serves", "--nocapture", FOLDER];
        let info = ServiceInfo {
            name: name.clone().into(),
            display_name: name.clone().into(),
            service_type: ServiceType::OWN_PROCESS,
            start_type: ServiceStartType::OnDemand,
            error_control: ServiceErrorControl::Normal,
            executable_path: std::env::current_exe().unwrap(),
            launch_arguments: words.map(OsString::from).into_iter().chain([folder.clone().into()]).collect(),
            dependencies: Vec::new(),
            account_name: None,
            account_password: None,
        };
        let service = manager.create_service(&info, ServiceAccess::START).unwrap();
        service.start::<&str>(&[]).unwrap();
        let service = Self { name, folder, port };
        service.wait_for("RUNNING");
        service
    }

    fn state(&self) -> String {
        tool("sc.exe", &["query", &self.name])
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        let start = Instant::now();
        while !self.state().contains(state) {
            assert!(start.elapsed() < PATIENCE, "{}: {}", self.name, self.state());
            sleep(INTERVAL);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn is_held(&self) -> bool {
        TcpListener::bind(("127.0.0.1", self.port)).is_err()
    }

    #[track_caller]
    fn free(&self, machine: &Machine, words: &str) -> Answer {
        machine.portolan(&format!("free {} {words}", self.port))
    }

    /// Frees the port of the service that is slow to stop, and kills the program while it waits for that.
    fn killed_while_stopping(&self, machine: &Machine) {
        fs::write(self.file("slow"), "").unwrap();
        let _ = fs::remove_file(self.file("let-go"));
        let mut child = machine.begin(&format!("free {} --yes", self.port));
        self.wait_for("STOP_PENDING");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(self.is_held());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::write(self.file("let-go"), "");
        tool("net.exe", &["stop", &self.name]);
        tool("sc.exe", &["delete", &self.name]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_service_is_named_stopped_by_its_manager_and_started_again_by_undo() {
    // Another test's restart would be this one's too.
    let _once = Once::new();
    let machine = Machine::new("en");
    let service = Service::new("plain");
    let who = machine.portolan(&format!("who {} --json", service.port)).with_code(0).json();
    assert_eq!(who["ports"][0]["holders"][0]["owner"]["unit"], service.name, "{who}");
    let told = machine.portolan(&format!("who {}", service.port)).with_code(0).output;
    assert!(told.contains(&service.name), "{told}");

    let plan = service.free(&machine, "--dry-run").with_code(0).output;
    assert!(plan.contains(&format!("stop the service {}", service.name)), "{plan}");
    assert!(plan.contains("ends wine_changes"), "{plan}");
    assert!(service.is_held() && service.state().contains("RUNNING"), "a dry run does nothing");

    let freed = service.free(&machine, "--yes --json").with_code(0).json();
    let port = &freed["ports"][0];
    assert_eq!((&port["free"], &port["binds"]), (&true.into(), &true.into()), "{freed}");
    assert!(!service.is_held() && service.state().contains("STOPPED"));
    machine.portolan(&format!("who {}", service.port)).with_code(1);
    assert_eq!(freed["steps"][0]["inverse"], format!("start the service {}", service.name), "{freed}");

    machine.portolan("undo --yes").with_code(0);
    assert!(service.is_held() && service.state().contains("RUNNING"));
    let again = service.free(&machine, "--yes").with_code(0);
    assert!(again.output.contains("binds"), "{again:#?}");
}

#[test]
fn a_stopped_service_stays_so_after_a_restart_of_windows_and_the_journal_says_why() {
    let once = Once::new();
    let machine = Machine::new("en");
    let service = Service::new("boot");
    service.free(&machine, "--yes").with_code(0);
    once.boot(2);
    let undone = machine.portolan("undo --yes --json");
    assert!(undone.output.contains("gone with its boot"), "{undone:#?}");
    assert!(service.state().contains("STOPPED"));
}

#[test]
fn a_service_that_is_stopped_by_hand_meanwhile_is_fine_and_one_that_is_gone_is_told() {
    // Another test's restart would be this one's too.
    let _once = Once::new();
    let machine = Machine::new("en");
    let service = Service::new("meanwhile");
    service.free(&machine, "--yes").with_code(0);
    // Somebody starts it before undo does.
    tool("net.exe", &["start", &service.name]);
    service.wait_for("RUNNING");
    let undone = machine.portolan("undo --yes --json").with_code(0);
    assert_eq!(undone.outcomes(), ["already-so"], "{undone:#?}");
    service.free(&machine, "--yes").with_code(0);
    tool("sc.exe", &["delete", &service.name]);
    let gone = machine.portolan("undo --yes").with_code(1);
    assert!(gone.output.contains(&service.name) && gone.output.contains("not installed"), "{gone:#?}");
}

#[test]
fn killed_while_a_service_stops_the_plan_is_undone_or_comes_to_its_end() {
    // Another test's restart would be this one's too.
    let _once = Once::new();
    let machine = Machine::new("en");
    let service = Service::new("slow");
    for way in ["undo", "resume"] {
        service.killed_while_stopping(&machine);
        let listed = machine.portolan("undo --list --json").with_code(0).json();
        let plans = listed["plans"].as_array().unwrap();
        let newest: &Value = plans.last().unwrap();
        assert_eq!(newest["next"], format!("stop the service {}", service.name), "{listed}");
        // It is still stopping while it is taken back or gone on with.
        let child = machine.begin(&format!("{way} --yes --json"));
        sleep(Duration::from_millis(500));
        fs::write(service.file("let-go"), "").unwrap();
        let answer = finish(child, way).with_code(0);
        let is_undone = way == "undo";
        assert_eq!(service.is_held(), is_undone, "{answer:#?}");
        assert_eq!(service.state().contains("RUNNING"), is_undone, "{answer:#?}");
    }
    machine.portolan("undo --yes").with_code(0);
    assert!(service.is_held());
}
