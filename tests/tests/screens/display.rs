//! The pump's display page, served by the agent's own server, in every state that it can show.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use wardlink_agent::display::{Infusion, Notice, Phase, Screen, Software, Update, web};
use wardlink_agent::pump::Handle;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::pairing::RefusalReason;
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority, Telemetry};
use wardlink_tests::browser::Target;
use wardlink_update::uptane::Postponed;

use crate::stage::{Row, Stage, World, row};

const LINK: &str = "HTTPS://WARDLINK.EXAMPLE:8443/V/AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPXA5LNOAWTC";

/// A pump's display, and the hand that says what it shows.
pub(crate) struct Display {
    pub(crate) origin: String,
    screen: watch::Sender<Screen>,
    /// Whoever presses its buttons is heard by nobody.
    _orders: mpsc::Receiver<wardlink_agent::pump::Order>,
    end: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl World for Display {
    type In<'s> = Self;
}

impl Display {
    /// Serves the display of `count` pumps, which all show the same.
    pub(crate) fn serve(count: usize) -> Result<Self> {
        let (screen, seen) = watch::channel(shown(Phase::Idle));
        let (orders, heard) = mpsc::channel(8);
        let pumps: Arc<[Handle]> = (0..count).map(|_| handle(seen.clone(), orders.clone())).collect();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("no port")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let (end, ended) = oneshot::channel();
        let server = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = web::serve(listener, pumps) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Self { origin, screen, _orders: heard, end: Some(end), server: Some(server) })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// One pump's display.
pub(crate) const TABLE: &[Row<Display>] = &[
    row("display, not coupled", &["display::Phase::Idle"], |stage, display| show(stage, display, Phase::Idle)),
    row("display, requesting", &["display::Phase::Requesting"], |stage, display| {
        show(stage, display, Phase::Requesting)
    }),
    row("display, QR code and digits", &["display::Phase::Verifying"], |stage, display| {
        show(stage, display, Phase::Verifying { code: Some("4071 9326".into()), link: Some(LINK.into()) })
    }),
    row("display, digits alone", &[], |stage, display| {
        show(stage, display, Phase::Verifying { code: Some("4071 9326".into()), link: None })
    }),
    row("display, answer", &["display::Phase::Answering"], |stage, display| {
        show(stage, display, Phase::Answering { tries_left: 3 })
    }),
    row("display, finishing", &["display::Phase::Finishing"], |stage, display| show(stage, display, Phase::Finishing)),
    row("display, connected", &["display::Phase::Paired"], |stage, display| show(stage, display, Phase::Paired)),
    row("display, infusing with alarms", &[], |stage, display| {
        show_screen(stage, display, Screen { infusion: Some(infusion()), ..shown(Phase::Paired) })
    }),
    row("display, an update waits for a person", &[], |stage, display| {
        let update = Update::Waits { revision: "1B".into(), why: Postponed::Confirmation };
        show_screen(stage, display, Screen { software: Some(software(update)), ..shown(Phase::Paired) })
    }),
    row("display, an update was taken back", &[], |stage, display| {
        let update = Update::Failed { revision: "1B".into(), reason: "its self-test failed".into() };
        show_screen(stage, display, Screen { software: Some(software(update)), ..shown(Phase::Paired) })
    }),
    row("display, with a message", &[], |stage, display| {
        let notice = Notice { message: Some("Please call 2104".to_owned()), tone_paused: true };
        show_screen(stage, display, Screen { infusion: Some(infusion()), notice, ..shown(Phase::Paired) })
    }),
    row("display, refused", &["display::Phase::Refused"], |stage, display| {
        let (reason, note) = (RefusalReason::Rejected, "Belongs to ward 7".to_owned());
        show(stage, display, Phase::Refused { reason, note, again_at: Some(UnixMillis(1)) })
    }),
    row("display, fault", &["display::Phase::Fault"], |stage, display| {
        show(stage, display, Phase::Fault { message: "The provisioning file has ended.".into() })
    }),
    row("display, offline", &[], |stage, display| {
        let trouble = Some("no route to the broker".into());
        show_screen(stage, display, Screen { online: false, trouble, ..shown(Phase::Requesting) })
    }),
];

/// Several pumps on one page.
pub(crate) const SEVERAL: &[Row<Display>] = &[row("displays of several pumps", &[], |stage, _| {
    stage.visit(&format!("/?lang={}", stage.language()), &Target::xpath("a list", "//ul/li"))
})];

fn show(stage: &Stage, display: &Display, phase: Phase) -> Result<()> {
    show_screen(stage, display, shown(phase))
}

fn show_screen(stage: &Stage, display: &Display, screen: Screen) -> Result<()> {
    let phase = screen.phase.name();
    display.screen.send_replace(screen);
    let body = Target::xpath("the display", &format!("//body[@data-phase=\"{phase}\"]//*[@id=\"title\"]"));
    stage.visit(&format!("/?lang={}", stage.language()), &body)?;
    // Alarms come with the first event.
    stage.browser.see(&Target::xpath("the time", "//*[@id=\"clock\"][text()]")).map(drop)
}

fn shown(phase: Phase) -> Screen {
    Screen {
        notice: Notice::default(),
        device: wardlink_protocol::Device {
            client: "infusion-pump".parse().unwrap_or_else(|_| unreachable!("a class")),
            identifier: "pump-1".parse().unwrap_or_else(|_| unreachable!("an identifier")),
        },
        model: "PM2".into(),
        serial: "204817".into(),
        phase,
        online: true,
        trouble: None,
        infusion: None,
        software: None,
    }
}

fn handle(screen: watch::Receiver<Screen>, orders: mpsc::Sender<wardlink_agent::pump::Order>) -> Handle {
    let (_, membership) = watch::channel(None);
    Handle { screen, orders, membership }
}

/// What a gateway shows while it pairs, and whoever says so.
pub(crate) fn of_gateway() -> (Handle, (watch::Sender<Screen>, mpsc::Receiver<wardlink_agent::pump::Order>)) {
    let (screen, seen) = watch::channel(shown(Phase::Idle));
    let (orders, heard) = mpsc::channel(8);
    (handle(seen, orders), (screen, heard))
}

fn software(update: Update) -> Software {
    Software { revision: "1A".into(), greeting: Some("Spring 2027".into()), update: Some(update) }
}

fn infusion() -> Infusion {
    let alarm = |kind, priority| Alarm { kind, priority, active: true };
    let telemetry = Telemetry {
        rate_ul_per_h: 2_340,
        infused_ul: 12_500,
        remaining_ul: 37_500,
        pressure_mmhg: 42,
        battery_percent: 87,
    };
    Infusion {
        drug: "Heparin <500> IU/ml".into(),
        telemetry,
        alarms: vec![
            alarm(AlarmKind::DownstreamOcclusion, AlarmPriority::High),
            alarm(AlarmKind::NearEnd, AlarmPriority::Medium),
            alarm(AlarmKind::BatteryLow, AlarmPriority::Low),
        ],
    }
}
