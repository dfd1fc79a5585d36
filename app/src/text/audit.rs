//! The audit log.

use super::texts;

texts! {
    audit_title => "Audit log" | "Protokoll";
    audit_nav => "Log" | "Protokoll";
    audit_text => "Every act of a person or device, each chained to the one before. Whoever changes or removes an entry breaks the chain." | "Jede Handlung von Personen und Geräten, jede mit der vorigen verkettet. Wer einen Eintrag ändert oder entfernt, bricht die Kette.";
    audit_find => "Search the log" | "Protokoll durchsuchen";
    audit_find_hint => "Person, device, detail…" | "Person, Gerät, Einzelheit…";
    audit_act => "Act" | "Handlung";
    audit_all_acts => "Every act" | "Jede Handlung";
    audit_empty => "Nothing is in the log." | "Das Protokoll ist leer.";
    audit_none => "No entry is like this." | "Kein Eintrag entspricht dem.";
    audit_more => "Older entries" | "Ältere Einträge";
    audit_export => "Export" | "Exportieren";
    audit_exporting(n: usize) => "{n} entries…" | "{n} Einträge…";
    audit_exported(n: usize) => "{n} entries were exported, with the signed end of the log." | "{n} Einträge wurden exportiert, mit dem signierten Ende des Protokolls.";
    audit_entry(sequence: u64) => "No. {sequence}" | "Nr. {sequence}";
    audit_hash(hash: &str) => "Chained as {hash}" | "Verkettet als {hash}";
    audit_refused => "refused" | "abgelehnt";
    audit_failed => "failed" | "fehlgeschlagen";
    audit_begun => "begun" | "begonnen";
    audit_system => "Control unit" | "Steuereinheit";

    act_pairing_requested => "Asked to pair" | "Kopplung angefragt";
    act_pairing_accepted => "Accepted a request" | "Anfrage angenommen";
    act_pairing_rejected => "Rejected a request" | "Anfrage abgelehnt";
    act_pairing_cancelled => "Cancelled a pairing" | "Kopplung abgebrochen";
    act_pairing_attempted => "Brought a wrong code" | "Falschen Code eingegeben";
    act_pairing_verified => "Verified a device" | "Gerät geprüft";
    act_pairing_finished => "Was paired" | "Wurde gekoppelt";
    act_pairing_ended => "A pairing ended" | "Kopplung beendet";
    act_identifier_locked => "Locked an identifier" | "Kennung gesperrt";
    act_identifier_unlocked => "Lifted a lock" | "Sperre aufgehoben";
    act_device_revoked => "Revoked a device" | "Gerät widerrufen";
    act_revocation_lifted => "Let a device pair again" | "Neue Kopplung erlaubt";
    act_revoked_device_tried => "A revoked device tried to come back" | "Widerrufenes Gerät versuchte Wiederkehr";
    act_decommission_ordered => "Ordered a device to erase itself" | "Löschen eines Geräts angeordnet";
    act_device_decommissioned => "Erased itself" | "Hat sich gelöscht";
    act_certificate_renewed => "Renewed its certificate" | "Zertifikat erneuert";
    act_certificate_expired => "A certificate ended" | "Zertifikat abgelaufen";
    act_key_rotated => "Made new keys" | "Neue Schlüssel gemacht";
    act_rekeying_finished => "New keys reached everybody" | "Neue Schlüssel sind überall";
    act_channels_changed => "Changed channels" | "Kanäle geändert";
    act_policy_changed => "Changed the pairing rules" | "Kopplungsregeln geändert";
    act_classes_changed => "Changed a device class" | "Geräteklasse geändert";
    act_secret_made => "Made an access secret" | "Zugangsgeheimnis gemacht";
    act_secret_shown => "Gave out an access secret" | "Zugangsgeheimnis ausgegeben";
    act_secret_ended => "Ended an access secret" | "Zugangsgeheimnis beendet";
    act_service_made => "Made a service" | "Dienst angelegt";
    act_service_enrolled => "A service was enrolled" | "Dienst angemeldet";
    act_service_revoked => "Revoked a service" | "Dienst widerrufen";
    act_order_given => "Gave a device an order" | "Auftrag an ein Gerät gegeben";
    act_order_ended => "An order ended" | "Auftrag beendet";
    act_message_refused => "Refused a message" | "Nachricht abgewiesen";
    act_records_asked => "Asked for stored data" | "Gespeicherte Daten abgerufen";
    act_gap_conceded => "Went on without missing records" | "Ohne fehlende Einträge weitergemacht";
    act_records_exported => "Exported stored data" | "Gespeicherte Daten exportiert";
    act_rules_changed => "Changed the rules for data" | "Regeln für Daten geändert";
    act_flag_acknowledged => "Has seen a flag" | "Hinweis gesehen";
    act_signed_in => "Signed in" | "Angemeldet";
    act_signed_out => "Signed out" | "Abgemeldet";
    act_sign_in_refused => "A sign-in was refused" | "Anmeldung abgelehnt";
    act_person_added => "Made an account" | "Konto angelegt";
    act_person_changed => "Changed an account" | "Konto geändert";
    act_log_exported => "Exported the log" | "Protokoll exportiert";

    decommission => "Take out of service" | "Außer Betrieb nehmen";
    decommission_device(name: &str) => "Take out of service: {name}" | "Außer Betrieb nehmen: {name}";
    decommission_title(name: &str) => "Take {name} out of service?" | "{name} außer Betrieb nehmen?";
    decommission_text => "The device erases its keys, certificates and stored data, and answers with a signed receipt. Then it is revoked. Until the receipt has come it works on." | "Das Gerät löscht Schlüssel, Zertifikate und gespeicherte Daten und antwortet mit einer signierten Quittung. Danach ist es widerrufen. Bis die Quittung da ist, arbeitet es weiter.";
    decommission_go => "Erase it" | "Löschen";
    decommission_ordered(by: &str, at: &str) => "Ordered to erase itself by {by}, {at}. Its receipt has not come yet." | "Löschen angeordnet durch {by}, {at}. Die Quittung steht noch aus.";
    decommission_done(at: &str) => "It has erased itself; its receipt came {at}." | "Es hat sich gelöscht; die Quittung kam {at}.";
    decommission_receipt => "Signed receipt" | "Signierte Quittung";
    decommission_told(name: &str) => "{name} was told to erase itself." | "{name} wurde angewiesen, sich zu löschen.";
}
