//! The channels and their keys.

use super::texts;

texts! {
    channels_title => "Channels" | "Kanäle";
    channels_text => "Each kind of data travels on a channel of its own, under keys of its own. A change gives the devices that it touches new keys and rights by itself." | "Jede Art von Daten hat ihren eigenen Kanal mit eigenen Schlüsseln. Eine Änderung gibt den betroffenen Geräten von selbst neue Schlüssel und Rechte.";
    channels_changed(at: &str, by: &str) => "Changed {at} by {by}." | "Geändert {at} durch {by}.";
    channels_unchanged => "These are the channels of a new site." | "Das sind die Kanäle eines neuen Standorts.";
    add_channel => "Add a channel" | "Kanal hinzufügen";
    change_channel => "Change" | "Ändern";
    change_channel_of(name: &str) => "Change {name}" | "{name} ändern";
    new_keys => "New keys" | "Neue Schlüssel";
    new_keys_of(name: &str) => "New keys for {name}" | "Neue Schlüssel für {name}";
    new_keys_title(name: &str) => "Make new keys for {name}?" | "Neue Schlüssel für {name} machen?";
    new_keys_text => "Every device of the channel gets a new key. Messages under the old one still count for ten minutes, so that nothing is lost." | "Jedes Gerät des Kanals bekommt einen neuen Schlüssel. Nachrichten unter dem alten gelten noch zehn Minuten, damit nichts verloren geht.";
    new_keys_made(name: &str) => "New keys for {name} are on their way." | "Neue Schlüssel für {name} sind unterwegs.";
    make_keys => "Make new keys" | "Neue Schlüssel machen";
    keys_made_at(at: &str) => "Keys of {at}" | "Schlüssel vom {at}";
    keys_next(at: &str) => "next {at}" | "die nächsten {at}";
    no_keys_yet => "No key yet" | "Noch kein Schlüssel";
    key_jobs => "New keys are on their way" | "Neue Schlüssel sind unterwegs";
    key_job(reached: u64, devices: u64) => "{reached} of {devices} devices" | "{reached} von {devices} Geräten";
    job_schedule => "As scheduled" | "Nach Plan";
    job_by_hand => "By hand" | "Von Hand";
    job_policy => "A channel has changed" | "Ein Kanal wurde geändert";
    job_revocation => "After a revocation" | "Nach einem Widerruf";
    job_restored => "The site was restored" | "Der Standort wurde wiederhergestellt";

    channel_name => "Channel name" | "Kanalname";
    channel_name_hint => "As it stands in topics: small letters, digits and hyphens" | "Wie in den Topics: Kleinbuchstaben, Ziffern und Bindestriche";
    channel_name_wrong => "Use small letters, digits and hyphens, beginning with a letter or digit; at most 32." | "Bitte Kleinbuchstaben, Ziffern und Bindestriche, beginnend mit Buchstabe oder Ziffer; höchstens 32.";
    channel_priority => "Priority" | "Priorität";
    priority_high => "High" | "Hoch";
    priority_medium => "Medium" | "Mittel";
    priority_low => "Low" | "Niedrig";
    channel_data => "Data" | "Daten";
    data_alarm => "Alarms" | "Alarme";
    data_therapy => "Therapy events" | "Therapieereignisse";
    data_command => "Orders to the device" | "Befehle an das Gerät";
    data_telemetry => "Measurements" | "Messwerte";
    data_log => "Technical log" | "Technisches Protokoll";
    data_update => "Updates and stored data" | "Updates und gespeicherte Daten";
    channel_delivery => "Delivery" | "Zustellung";
    delivery_once => "At least once (QoS 1)" | "Mindestens einmal (QoS 1)";
    delivery_lossy => "May be lost (QoS 0)" | "Darf verloren gehen (QoS 0)";
    channel_cipher => "Encryption" | "Verschlüsselung";
    channel_scope => "Key" | "Schlüssel";
    scope_class => "Shared by the class" | "Gemeinsam für die Klasse";
    scope_device => "One for each device" | "Je Gerät einer";
    channel_trust => "Trust" | "Vertrauen";
    trust_any => "Every paired device" | "Jedes gekoppelte Gerät";
    trust_full_only => "Verified devices only" | "Nur geprüfte Geräte";
    channel_rotation_field => "Rotation" | "Schlüsselwechsel";
    channel_signed_field => "Signatures" | "Signaturen";
    channel_durable_field => "Log" | "Protokoll";
    channel_rotation => "New keys every … hours" | "Neue Schlüssel alle … Stunden";
    channel_rotation_wrong(least: u64, most: u64) => "Give a whole number from {least} to {most}." | "Bitte eine ganze Zahl von {least} bis {most}.";
    channel_signed => "Each message is signed by its sender" | "Jede Nachricht wird vom Absender signiert";
    channel_signed_short => "signed" | "signiert";
    channel_durable => "The bridge keeps a log" | "Die Brücke führt ein Protokoll";
    channel_durable_short => "kept" | "aufbewahrt";
    every_hours(hours: u64) => "new keys every {hours} h" | "neue Schlüssel alle {hours} h";

    preview_button => "See what changes" | "Auswirkungen ansehen";
    preview_title => "What this changes" | "Was sich ändert";
    preview_nothing => "Nothing changes." | "Es ändert sich nichts.";
    preview_added(name: &str) => "{name} is added." | "{name} kommt hinzu.";
    preview_removed(name: &str) => "{name} is removed." | "{name} entfällt.";
    preview_changed(name: &str, fields: &str) => "{name} changes: {fields}" | "{name} ändert sich: {fields}";
    preview_gains(devices: u64, class: &str) => "{class}: {devices} devices get the channel" | "{class}: {devices} Geräte bekommen den Kanal";
    preview_loses(devices: u64, class: &str) => "{class}: {devices} devices lose the channel" | "{class}: {devices} Geräte verlieren den Kanal";
    preview_rekeyed(devices: u64, class: &str) => "{class}: {devices} devices get a new key" | "{class}: {devices} Geräte bekommen einen neuen Schlüssel";
    preview_nobody => "No paired device is touched." | "Kein gekoppeltes Gerät ist betroffen.";
    preview_back => "Back" | "Zurück";
    preview_save => "Put it in force" | "In Kraft setzen";
    remove_channel => "Remove the channel" | "Kanal entfernen";
    channels_saved => "The channels are in force." | "Die Kanäle sind in Kraft.";
}
