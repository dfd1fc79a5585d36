//! The fleet and its live data.

use super::texts;

texts! {
    devices_title => "Devices" | "Geräte";
    no_devices => "No device is paired yet." | "Noch kein Gerät ist gekoppelt.";
    no_devices_text => "Devices appear here when their pairing is finished." | "Geräte erscheinen hier, sobald ihre Kopplung fertig ist.";
    search_label => "Search the devices" | "Geräte suchen";
    search_hint => "Name, serial number, location…" | "Name, Seriennummer, Standort…";
    found(n: usize) => "{n} found" | "{n} gefunden";
    online => "Online" | "Verbunden";
    last_seen(age: &str) => "Last message {age} ago" | "Letzte Nachricht vor {age}";
    never_seen => "No message yet" | "Noch keine Nachricht";
    no_such_device => "There is no such device" | "Dieses Gerät gibt es nicht";
    no_such_device_text => "It is not paired at this site." | "Es ist an diesem Standort nicht gekoppelt.";

    state_unknown => "Unknown" | "Unbekannt";
    state_closing => "Ending" | "Endet";
    state_pairing => "Pairing" | "Wird gekoppelt";
    state_paired => "Paired" | "Gekoppelt";
    state_expired => "Certificate expired" | "Zertifikat abgelaufen";
    state_locked => "Locked" | "Gesperrt";
    state_revoked => "Revoked" | "Widerrufen";
    trust => "Trust" | "Vertrauen";
    trust_full => "Full" | "Voll";
    trust_reduced_text => "Nobody verified this device when it was paired; its network vouched for it. It gets no channel for commands. Pair it again with the typed code or the QR code to raise its trust: start the pairing at the device, nothing is lost." | "Niemand hat dieses Gerät beim Koppeln geprüft; sein Netz bürgte dafür. Es bekommt keinen Kanal für Befehle. Neu koppeln mit getipptem Code oder QR-Code stellt volles Vertrauen her: Kopplung am Gerät starten, nichts geht verloren.";
    trust_reduced => "Reduced trust" | "Eingeschränktes Vertrauen";

    rate => "Rate" | "Förderrate";
    infused => "Infused" | "Infundiert";
    remaining => "Remaining" | "Verbleibend";
    pressure => "Line pressure" | "Leitungsdruck";
    battery => "Battery" | "Akku";

    events => "Therapy and alarms" | "Therapie und Alarme";
    no_events => "Nothing has happened yet." | "Noch ist nichts geschehen.";
    therapy_started => "Infusion started" | "Infusion gestartet";
    therapy_rate_changed => "Rate changed" | "Rate geändert";
    therapy_paused => "Infusion paused" | "Infusion angehalten";
    therapy_resumed => "Infusion resumed" | "Infusion fortgesetzt";
    therapy_completed => "Infusion complete" | "Infusion beendet";
    signed_by_device => "Signed by the device" | "Vom Gerät signiert";
    stamped_by_bridge => "Stamped by the bridge" | "Von der Brücke gestempelt";

    alarms => "Active alarms" | "Aktive Alarme";
    alarm_high => "High priority" | "Hohe Priorität";
    alarm_medium => "Medium priority" | "Mittlere Priorität";
    alarm_low => "Low priority" | "Niedrige Priorität";
    alarm_began => "Alarm began" | "Alarm begann";
    alarm_ended => "Alarm ended" | "Alarm endete";
    alarm_downstream_occlusion => "Line blocked downstream" | "Verschluss patientenseitig";
    alarm_air_in_line => "Air in the line" | "Luft in der Leitung";
    alarm_near_end => "Container nearly empty" | "Behälter fast leer";
    alarm_battery_low => "Battery low" | "Akku schwach";
    alarm_door_open => "Door open" | "Tür offen";

    about_device => "The device" | "Das Gerät";
    class => "Class" | "Klasse";
    serial => "Serial number" | "Seriennummer";
    family => "Family" | "Familie";
    firmware => "Firmware" | "Firmware";
    hardware => "Hardware" | "Hardwarestand";
    key => "Key" | "Schlüssel";
    verified_by_mode => "Verified by" | "Geprüft durch";
    paired_at => "Paired" | "Gekoppelt am";
    paired_by => "Paired by" | "Gekoppelt von";
    certificate => "Certificate" | "Zertifikat";
    certificate_ends => "Certificate ends" | "Zertifikat endet";
    channels => "Channels" | "Kanäle";
}
