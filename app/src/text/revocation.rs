//! The end of trust in devices.

use super::texts;

texts! {
    revoke => "Revoke" | "Widerrufen";
    revoke_device(name: &str) => "Revoke {name}" | "{name} widerrufen";
    revoke_title(name: &str) => "Revoke {name}?" | "{name} widerrufen?";
    revoke_chosen(n: usize) => "Revoke ({n})" | "Widerrufen ({n})";
    revoke_several_title(n: usize) => "Revoke {n} devices?" | "{n} Geräte widerrufen?";
    revoke_text => "It is cut off at once: its connection, its keys and its certificate are worth nothing any more. What it still sends, alarms included, reaches nobody. Make sure that no patient depends on it." | "Die Verbindung wird sofort getrennt, Schlüssel und Zertifikat gelten nicht mehr. Was das Gerät noch sendet, auch Alarme, erreicht niemanden. Bitte sicherstellen, dass kein Patient darauf angewiesen ist.";
    revoke_list => "These devices:" | "Diese Geräte:";
    revoke_reason => "Why?" | "Warum?";
    reason_lost => "Lost or stolen" | "Verloren oder gestohlen";
    reason_lost_hint => "Nobody knows where it is" | "Niemand weiß, wo es ist";
    reason_compromised => "Tampered with" | "Manipuliert";
    reason_compromised_hint => "Somebody may know its key" | "Jemand könnte seinen Schlüssel kennen";
    reason_replaced => "Replaced" | "Ersetzt";
    reason_replaced_hint => "Another device takes its place" | "Ein anderes Gerät übernimmt";
    reason_retired => "Out of service" | "Außer Betrieb";
    reason_retired_hint => "It is not used any more" | "Es wird nicht mehr benutzt";
    reason_other => "Another reason" | "Ein anderer Grund";
    reason_other_hint => "Say which in the note" | "Bitte in der Notiz nennen";
    revoke_note => "Note" | "Notiz";
    revoke_note_hint => "May stay empty." | "Darf leer bleiben.";
    revoke_note_missing => "Say why." | "Bitte sagen, warum.";
    keep_trust => "Keep its trust" | "Vertrauen behalten";
    revoked_now(n: usize) => "Cut off: {n}" | "Getrennt: {n}";
    revoked_of(done: usize, all: usize) => "{done} of {all} are cut off…" | "{done} von {all} sind getrennt…";

    revoked_title => "This device is revoked." | "Dieses Gerät ist widerrufen.";
    revoked_by(by: &str, at: &str) => "By {by}, {at}" | "Durch {by}, {at}";
    revoked_cut(at: &str) => "Cut off {at}" | "Getrennt {at}";
    revoked_cutting => "The bridge has yet to cut it off. It is told again until it has." | "Die Brücke hat es noch nicht getrennt. Sie wird so oft angewiesen, bis es geschehen ist.";
    revoked_attempts(n: u64, at: &str) => "Tried to come back {n} times, last {at}" | "Wiederkehrversuche: {n}, zuletzt {at}";
    revoked_no_attempts => "Has not tried to come back" | "Hat keine Wiederkehr versucht";
    reinstate => "Let it pair again" | "Neue Kopplung erlauben";
    reinstate_device(name: &str) => "Let it pair again: {name}" | "Neue Kopplung erlauben: {name}";
    reinstate_title(name: &str) => "Let {name} pair again?" | "{name} wieder koppeln lassen?";
    reinstate_text => "It may ask to pair again, and a person has to accept and verify it as if it were new. Its old key and certificate stay worth nothing." | "Es darf wieder um Kopplung bitten, und jemand muss es annehmen und prüfen wie ein neues. Schlüssel und Zertifikat von früher gelten weiter nicht.";
    reinstated(name: &str) => "{name} may ask to pair again." | "{name} darf wieder um Kopplung bitten.";
    keep_revoked => "Keep it revoked" | "Widerruf behalten";

    select_devices => "Select" | "Auswählen";
    select_end => "End the selection" | "Auswahl beenden";
    select_found(n: usize) => "Select all ({n})" | "Alle auswählen ({n})";
    select_device(name: &str) => "Select {name}" | "{name} auswählen";
    selected(n: usize) => "{n} selected" | "{n} ausgewählt";
    show_label => "Show" | "Anzeigen";
    show_all => "All" | "Alle";
    show_paired => "Paired" | "Gekoppelt";
    show_revoked => "Revoked" | "Widerrufen";
    none_shown => "No device is like this." | "Kein Gerät entspricht dem.";
}
