//! Stored data: what has arrived, what rules have found in it, the rules.

use super::texts;

texts! {
    records_nav => "Data" | "Daten";
    records_tabs => "Stored data" | "Gespeicherte Daten";
    records_title => "Received data" | "Empfangene Daten";
    records_text => "What devices have stored and handed over, each batch signed by its device. It is deleted there only when it is stored here." | "Was Geräte gespeichert und übergeben haben, jedes Paket vom Gerät signiert. Dort wird es erst gelöscht, wenn es hier gespeichert ist.";
    no_records => "Nothing has arrived yet." | "Noch nichts angekommen.";
    no_records_text => "Data comes by itself through the gateways, or when somebody asks for it." | "Daten kommen von selbst über die Gateways, oder wenn jemand danach fragt.";
    data_records(n: u64) => "{n} records" | "{n} Messwerte und Antworten";
    data_last(age: &str, gateway: &str) => "last {age} ago through {gateway}" | "zuletzt vor {age} über {gateway}";
    data_set_aside(n: u64) => "{n} do not count" | "{n} zählen nicht";
    data_missing(n: u64) => "{n} records are missing" | "{n} Einträge fehlen";
    data_flags(n: u64) => "Flags: {n}" | "Hinweise: {n}";
    data_stored => "Stored" | "Gespeichert";
    data_last_at => "Last upload" | "Letzte Übergabe";
    data_through => "Through" | "Über";
    data_missing_name => "Missing" | "Fehlend";
    data_arrived(devices: u64, age: &str) => "Stored data of devices: {devices}, last {age} ago" | "Gespeicherte Daten von Geräten: {devices}, zuletzt vor {age}";
    data_not_arrived => "No stored data yet" | "Noch keine gespeicherten Daten";
    data_exported(n: usize) => "{n} records were saved." | "{n} Einträge wurden gesichert.";
    export_csv => "CSV" | "CSV";
    export_json => "JSON" | "JSON";

    ask_now => "Ask now" | "Jetzt abrufen";
    ask_now_of(name: &str) => "Ask now for the stored data of {name}" | "Jetzt abrufen: gespeicherte Daten von {name}";
    asked_now => "It was asked for. What waits comes now." | "Es ist abgerufen. Was wartet, kommt jetzt.";
    asked_later => "A gateway is not connected. It is asked as soon as it is." | "Ein Gateway ist nicht verbunden. Es wird gefragt, sobald es das ist.";
    ask_regularly => "Ask regularly" | "Regelmäßig abrufen";
    regularly_text => "Gateways send by themselves, too. Here the server asks every connected one, time and again." | "Gateways senden auch von selbst. Hier fragt der Server jedes verbundene, immer wieder.";
    regularly_which => "How often?" | "Wie oft?";
    regularly_saved => "Saved." | "Gespeichert.";
    never => "Never" | "Nie";
    asked_regularly(interval: &str) => "Every connected gateway is asked every {interval}." | "Jedes verbundene Gateway wird alle {interval} gefragt.";
    asked_never => "The server does not ask by itself." | "Der Server fragt nicht von selbst.";

    gaps_title => "Waits for missing records" | "Wartet auf fehlende Einträge";
    gaps_more(n: u64) => "And {n} more" | "Und {n} weitere";
    gap_numbers(from: u64, through: u64) => "No. {from} to {through}" | "Nr. {from} bis {through}";
    gap_waits(gateway: &str, time: &str) => "What follows waits at {gateway}; tried last {time}" | "Was folgt, wartet bei {gateway}; zuletzt versucht {time}";
    gap_conceded(person: &str) => "{person} has said that they do not come. What follows is taken when it is sent again." | "{person} hat angegeben, dass sie nicht kommen. Was folgt, wird angenommen, wenn es wieder gesendet wird.";
    concede => "They do not come" | "Sie kommen nicht";
    concede_of(name: &str) => "They do not come: missing records of {name}" | "Sie kommen nicht: fehlende Einträge von {name}";
    concede_title(name: &str) => "Go on without records of {name}?" | "Ohne Einträge von {name} weitermachen?";
    concede_text => "Say so only when nobody has them any more, such as after a gateway was destroyed. The gap stays on record; should they come after all, they are taken." | "Nur angeben, wenn niemand sie mehr hat, etwa nach dem Verlust eines Gateways. Die Lücke bleibt vermerkt; kommen sie doch noch, werden sie angenommen.";
    conceded => "What follows is taken when it is sent again." | "Was folgt, wird angenommen, wenn es wieder gesendet wird.";
    outlets_title => "Sent on to databases" | "An Datenbanken weitergegeben";
    outlet_line(name: &str, state: &str) => "{name}: {state}" | "{name}: {state}";
    outlet_done => "everything is there" | "alles ist dort";
    outlet_behind(n: u64) => "{n} records are still to come" | "{n} Einträge fehlen noch";
    refused_title => "Refused" | "Abgewiesen";
    refused_of_nobody => "an unknown device" | "einem unbekannten Gerät";
    refused_line(device: &str, gateway: &str, step: &str, reason: &str) => "Of {device}, through {gateway}, step {step}: {reason}" | "Von {device}, über {gateway}, Schritt {step}: {reason}";

    series_which => "What?" | "Was?";
    series_time => "Over which time?" | "In welcher Zeit?";
    last_time(span: &str) => "Last {span}" | "Letzte {span}";
    no_values => "Nothing was recorded in this time." | "In dieser Zeit wurde nichts aufgezeichnet.";
    plot_label(name: &str, least: &str, greatest: &str, unit: &str) => "{name}: from {least} to {greatest} {unit}. The table has the values." | "{name}: von {least} bis {greatest} {unit}. Die Werte stehen in der Tabelle.";
    plot_table(name: &str, unit: &str) => "{name} in {unit}, as a table" | "{name} in {unit}, als Tabelle";
    plot_from => "From" | "Ab";
    plot_least => "Least" | "Kleinster";
    plot_mean => "Mean" | "Mittel";
    plot_greatest => "Greatest" | "Größter";
    plot_count => "Values" | "Werte";
    set_aside_records => "Do not count" | "Zählen nicht";
    set_aside_records_text => "Stored as they were signed, and left out of plots, rules and exports, because they cannot be." | "Gespeichert, wie sie signiert wurden, und nicht in Kurven, Regeln und Exporten, weil sie nicht sein können.";
    set_aside_line(series: &str, value: &str, step: &str) => "{series} {value} (step {step})" | "{series} {value} (Schritt {step})";
    chains_title => "How the records go on" | "Wie die Aufzeichnung weitergeht";
    chain_begun => "A new chain; all before it is here." | "Neue Kette; alles davor ist hier.";
    chain_outstanding => "A new chain; records before it are still to come." | "Neue Kette; Einträge davor stehen noch aus.";
    chain_unsure => "A new chain; nobody can say what was recorded and lost before it." | "Neue Kette; niemand kann sagen, was davor aufgezeichnet wurde und verloren ist.";
    chain_conceded => "A gap was conceded." | "Eine Lücke wurde hingenommen.";
    chain_filled => "A gap was filled." | "Eine Lücke wurde gefüllt.";
    chain_first => "It is the first." | "Sie ist die erste.";
    chain_paired_again => "The device was paired again." | "Das Gerät wurde neu gekoppelt.";
    chain_store_lost => "The device has lost its store." | "Das Gerät hat seinen Speicher verloren.";
    chain_restored => "The device was restored from an earlier state." | "Das Gerät wurde auf einen früheren Stand zurückgesetzt.";

    flags_title => "Flags" | "Hinweise";
    flags_text => "Conditions that the rules have found. They help people decide; they raise no alarm, and steer no device." | "Zustände, die die Regeln gefunden haben. Sie helfen bei Entscheidungen; sie lösen keinen Alarm aus und steuern kein Gerät.";
    flags_open_only => "Only those that nobody has seen" | "Nur solche, die niemand gesehen hat";
    no_flags => "No flags." | "Keine Hinweise.";
    no_flags_text => "A flag appears here when a rule finds its condition in what arrives." | "Ein Hinweis erscheint, wenn eine Regel in dem, was ankommt, ihre Bedingung findet.";
    flag_time(from: &str, until: &str) => "{from} to {until}" | "{from} bis {until}";
    flag_count(n: u64) => "Records: {n}" | "Einträge: {n}";
    flag_rule(rule: &str, version: u32) => "Rule {rule}, version {version}" | "Regel {rule}, Version {version}";
    flag_patient(patient: &str) => "Patient {patient}" | "Patient/in {patient}";
    flag_seen(person: &str, time: &str) => "Seen by {person}, {time}" | "Gesehen von {person}, {time}";
    flag_withdrawn(time: &str) => "Withdrawn {time}: later records show otherwise" | "Zurückgezogen {time}: spätere Einträge zeigen es anders";
    acknowledge => "Seen" | "Gesehen";
    acknowledge_of(flag: &str, name: &str) => "Seen: {flag}, {name}" | "Gesehen: {flag}, {name}";
    acknowledged => "Noted." | "Vermerkt.";
    severity_information => "Information" | "Zur Kenntnis";
    severity_warning => "Look at it" | "Ansehen";
    severity_critical => "Look at it now" | "Sofort ansehen";

    data_rules_title => "Rules" | "Regeln";
    data_rules_text => "Rules look at every record when it arrives, and flag what they find." | "Regeln prüfen jeden Eintrag, wenn er ankommt, und weisen auf das hin, was sie finden.";
    no_rules => "There are no rules." | "Es gibt keine Regeln.";
    no_rules_text => "An administrator writes them: thresholds, durations and trends." | "Eine Administratorin oder ein Administrator schreibt sie: Grenzwerte, Dauern und Verläufe.";
    edit_rules => "Change the rules" | "Regeln ändern";
    rules_as_json => "Rules (JSON)" | "Regeln (JSON)";
    rules_hint => "All of them count, or none. A rule that changes gets the next version." | "Es gelten alle oder keine. Eine Regel, die sich ändert, bekommt die nächste Version.";
    rules_saved => "The rules are in force." | "Die Regeln gelten.";
    rules_changed(version: u64, time: &str, person: &str) => "Version {version}, {time} by {person}" | "Version {version}, {time} von {person}";
}
