//! Server applications.

use super::texts;

texts! {
    services_title => "Services" | "Dienste";
    services_text => "Server applications that read what devices send, or give them orders: each with the channels and keys that it is granted, and no others." | "Server-Anwendungen, die lesen, was Geräte senden, oder ihnen Aufträge geben: jede mit den Kanälen und Schlüsseln, die ihr gegeben sind, und keinen anderen.";
    add_service => "Add a service" | "Dienst hinzufügen";
    add_service_text => "It gets a certificate of its own. What it may read and send stays so: for something else, make another one." | "Er bekommt ein eigenes Zertifikat. Was er lesen und senden darf, bleibt so: für anderes bitte einen weiteren anlegen.";
    no_services => "No service yet." | "Noch kein Dienst.";
    no_services_text => "A service could be a monitor at the nurses' station, or an archive." | "Ein Dienst könnte ein Monitor im Stationszimmer sein oder ein Archiv.";
    service_name => "Name of the service" | "Name des Dienstes";
    service_name_hint => "For example: ward-monitor" | "Zum Beispiel: ward-monitor";
    service_classes => "Which devices?" | "Welche Geräte?";
    service_reads_which => "It reads" | "Er liest";
    service_writes_which => "It sends to devices" | "Er sendet an Geräte";
    service_writes_hint => "Orders, on a channel that carries them. To learn how they go it reads the channel, too." | "Aufträge, auf einem Kanal, der sie trägt. Um zu erfahren, wie sie ausgehen, liest er ihn auch.";
    service_access_wrong(most: usize) => "Choose devices and channels, together 1 to {most}." | "Bitte Geräte und Kanäle wählen, zusammen 1 bis {most}.";
    make_service => "Make the service" | "Dienst anlegen";
    service_made => "Enrol it now" | "Jetzt anmelden";
    service_made_text(end: &str) => "This text enrols the service. It is shown only here, counts once, and ends {end}." | "Dieser Text meldet den Dienst an. Er steht nur hier, gilt einmal und endet {end}.";
    service_command => "On the machine where it runs, with the text in WARDLINK_ENROL:" | "Auf dem Rechner, auf dem er läuft, mit dem Text in WARDLINK_ENROL:";
    service_copy => "Copy the text" | "Text kopieren";
    service_copied => "The enrolment text was copied." | "Der Anmeldetext wurde kopiert.";
    service_not_copied => "The browser does not let it be copied. Select the text instead." | "Der Browser lässt das Kopieren nicht zu. Bitte den Text markieren.";
    service_done => "Done: forget it here" | "Fertig: hier vergessen";
    service_waiting => "Waiting" | "Wartet";
    service_lapsed => "Not enrolled" | "Nicht angemeldet";
    service_active => "Enrolled" | "Angemeldet";
    service_expired => "Ended" | "Beendet";
    service_revoked => "Revoked" | "Widerrufen";
    service_reads(what: &str) => "Reads {what}." | "Liest {what}.";
    service_writes(what: &str) => "Sends {what}." | "Sendet {what}.";
    service_waits_until(time: &str) => "Its text counts until {time}" | "Sein Text gilt bis {time}";
    service_lapsed_hint => "Its text was not used in time: make it anew" | "Sein Text wurde nicht rechtzeitig benutzt: bitte neu anlegen";
    service_ends(time: &str) => "Certificate until {time}" | "Zertifikat bis {time}";
    service_revoked_at(time: &str, name: &str) => "Revoked {time} by {name}" | "Widerrufen {time} von {name}";
    service_seen(time: &str) => "Last seen {time}" | "Zuletzt gesehen {time}";
    revoke_service => "Revoke" | "Widerrufen";
    revoke_service_of(name: &str) => "Revoke the service {name}" | "Dienst {name} widerrufen";
    revoke_service_title(name: &str) => "Revoke the service {name}?" | "Dienst {name} widerrufen?";
    revoke_service_text => "It is cut off at once, and every key that it could know is replaced on the devices. This cannot be undone; the name can be given again." | "Er wird sofort getrennt, und alle Schlüssel, die er kennen kann, werden auf den Geräten ersetzt. Das lässt sich nicht rückgängig machen; der Name kann neu vergeben werden.";
    service_revoked_now(name: &str) => "{name} is cut off." | "{name} ist getrennt.";
}
