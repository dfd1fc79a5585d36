//! The requests of devices, and a pairing's steps.

use super::texts;

texts! {
    requests_title => "Waiting to join" | "Warten auf Kopplung";
    requests_end_by_themselves => "Requests that nobody answers end by themselves." | "Anfragen, die niemand beantwortet, enden von selbst.";
    nothing_waits => "Nothing is waiting." | "Nichts wartet.";
    nothing_waits_text => "A new pump appears here by itself." | "Eine neue Pumpe erscheint hier von selbst.";
    lately => "Lately" | "Kürzlich";
    asked_ago(age: &str) => "Asked {age} ago" | "Angefragt vor {age}";
    ended_ago(age: &str) => "{age} ago" | "vor {age}";
    requests_wait(n: usize) => "Waiting requests: {n}" | "Wartende Anfragen: {n}";
    key_short(key: &str) => "Key {key}" | "Schlüssel {key}";
    network_secured => "Secured network" | "Gesichertes Netz";
    network_from(network: &str, address: &str) => "{network}, {address}" | "{network}, {address}";
    network_untrusted => "Untrusted network" | "Ungesichertes Netz";
    kind_and_firmware(kind: &str, version: &str) => "{kind} · firmware {version}" | "{kind} · Firmware {version}";
    kind_and_serial(kind: &str, serial: &str) => "{kind} · serial number {serial}" | "{kind} · Seriennummer {serial}";
    serial_short(serial: &str) => "Serial no. {serial}" | "Seriennr. {serial}";
    replaces => "This device is paired already: a new pairing replaces its key." | "Dieses Gerät ist schon gekoppelt: Eine neue Kopplung ersetzt seinen Schlüssel.";

    accept => "Accept" | "Annehmen";
    reject => "Reject" | "Ablehnen";
    accept_device(name: &str) => "Accept {name}" | "{name} annehmen";
    reject_device(name: &str) => "Reject {name}" | "{name} ablehnen";
    dismiss_device(name: &str) => "Dismiss {name} from the list" | "{name} aus der Liste nehmen";
    dismissed(name: &str) => "{name} was dismissed." | "{name} wurde aus der Liste genommen.";
    accept_title(name: &str) => "Accept {name}?" | "{name} annehmen?";
    reject_title(name: &str) => "Reject {name}?" | "{name} ablehnen?";
    cancel_title(name: &str) => "Cancel the pairing of {name}?" | "Kopplung von {name} abbrechen?";
    keep_waiting => "Let it wait" | "Warten lassen";
    keep_pairing => "Go on pairing" | "Weiter koppeln";
    cancel_pairing => "Cancel the pairing" | "Kopplung abbrechen";
    cancel_text => "The device returns to its beginning and shows that the pairing was cancelled. It can ask again." | "Das Gerät kehrt an den Anfang zurück und zeigt, dass die Kopplung abgebrochen wurde. Es kann neu anfragen.";
    reject_text => "The device shows that it was rejected, with your reason." | "Das Gerät zeigt, dass es abgelehnt wurde, mit Ihrer Begründung.";
    reject_reason => "Reason" | "Begründung";
    reject_reason_hint => "May stay empty." | "Darf leer bleiben.";
    reject_unknown => "Unknown device" | "Unbekanntes Gerät";
    reject_wrong_ward => "Belongs to another ward" | "Gehört auf eine andere Station";
    reject_in_repair => "Sent in for repair" | "Zur Reparatur gegeben";
    note_too_long(most: usize) => "This is too long: {most} bytes fit." | "Das ist zu lang: {most} Bytes passen.";
    location => "Bed or location" | "Bett oder Standort";
    location_hint => "For example: Ward 3B, bed 12" | "Zum Beispiel: Station 3B, Bett 12";
    location_missing => "Say where the device stands." | "Bitte angeben, wo das Gerät steht.";
    mode_question => "How will it be verified?" | "Wie wird es geprüft?";
    mode_qr => "QR code" | "QR-Code";
    mode_code => "Typed code" | "Getippter Code";
    mode_simple => "Without verification" | "Ohne Prüfung";
    mode_simple_proposed => "Proposed on this secured network; the device gets reduced trust" | "Vorgeschlagen in diesem gesicherten Netz; das Gerät bekommt eingeschränktes Vertrauen";
    mode_proposed => "Proposed for this device and network" | "Vorgeschlagen für dieses Gerät und Netz";
    mode_qr_hint => "Scan the pump's display with a phone" | "Display der Pumpe mit dem Telefon scannen";
    mode_code_hint => "Type the eight digits that the pump shows" | "Die acht Ziffern eintippen, die die Pumpe zeigt";
    mode_simple_hint => "Reduced trust; secured networks only" | "Eingeschränktes Vertrauen; nur in gesicherten Netzen";

    detail_label => "Opened request" | "Geöffnete Anfrage";
    pairing_gone => "This request is no longer on the list." | "Diese Anfrage steht nicht mehr auf der Liste.";
    open_device => "Open the device" | "Gerät öffnen";
    verify_by_phone => "Or with a phone:" | "Oder mit dem Telefon:";
    asked_at => "Asked" | "Angefragt";
    ends_at => "Ends by itself" | "Endet von selbst";
    network => "Network" | "Netz";

    phase_waiting => "Waiting" | "Wartet";
    phase_accepted => "Answering" | "Antwortet";
    phase_verifying => "Verify now" | "Jetzt prüfen";
    phase_confirmed => "Delivering keys" | "Schlüssel werden übergeben";
    phase_finished => "Connected" | "Verbunden";
    phase_ended => "Ended" | "Beendet";

    steps_label => "Steps of the pairing" | "Schritte der Kopplung";
    step_done => "done" | "erledigt";
    step_now => "now" | "jetzt";
    step_stopped => "ended here" | "endete hier";
    step_next => "later" | "später";
    step_asked => "Asked to join" | "Hat um Kopplung gebeten";
    step_accept => "Waiting for your decision" | "Wartet auf Ihre Entscheidung";
    step_accepted_by(name: &str) => "Accepted by {name}" | "Angenommen von {name}";
    step_answering => "The device is answering" | "Das Gerät antwortet";
    step_answering_text => "It shows its code in a moment." | "Es zeigt gleich seinen Code.";
    step_verify => "Verify the device" | "Gerät prüfen";
    step_verify_text => "Scan its display with a phone, or type its code." | "Display mit dem Telefon scannen oder den Code eintippen.";
    step_unverified => "Paired without verification" | "Ohne Prüfung gekoppelt";
    step_unverified_text => "On a secured network; it goes on by itself." | "In einem gesicherten Netz; es geht von selbst weiter.";
    step_verified => "Verified" | "Geprüft";
    step_keys => "Deliver the keys" | "Schlüssel übergeben";
    step_keys_delivered => "Keys delivered" | "Schlüssel sind übergeben";
    step_connect => "Connect" | "Verbinden";
    step_connected => "Connected" | "Verbunden";

    reason_rejected => "Rejected." | "Abgelehnt.";
    reason_request_expired => "Nobody answered in time." | "Niemand hat rechtzeitig geantwortet.";
    reason_verification_expired => "Nobody verified in time." | "Niemand hat rechtzeitig geprüft.";
    reason_wrong_code => "The code was wrong three times." | "Der Code war dreimal falsch.";
    reason_cancelled => "Cancelled." | "Abgebrochen.";
    reason_protocol_violation => "The device's messages did not fit together." | "Die Nachrichten des Geräts passten nicht zusammen.";
    reason_locked => "Locked after too many failures." | "Gesperrt nach zu vielen Fehlversuchen.";
    reason_unknown => "Ended." | "Beendet.";
}
