//! Provisioning and people.

use super::texts;

texts! {
    provisioning_title => "Provisioning" | "Bereitstellung";
    provisioning_text => "A device needs one file to ask to join: the broker's address and an access secret. The secret lets it ask, and nothing more." | "Mit dieser Datei kann ein Gerät anfragen: Sie enthält die Adresse des Brokers und ein Zugangsgeheimnis. Das Geheimnis erlaubt das Anfragen, sonst nichts.";
    scope => "For whom?" | "Für wen?";
    for_one_device => "One device" | "Ein Gerät";
    for_one_device_hint => "Its own secret" | "Mit eigenem Geheimnis";
    for_class => "All devices of the class" | "Alle Geräte der Klasse";
    for_class_hint => "The hospital-wide secret" | "Mit dem gemeinsamen Geheimnis";
    identifier => "Identifier" | "Kennung";
    identifier_hint => "For example: ip-204817" | "Zum Beispiel: ip-204817";
    invalid_name => "Use 1 to 32 small letters, digits and hyphens; begin with a letter or digit." | "Bitte 1 bis 32 Kleinbuchstaben, Ziffern und Bindestriche; am Anfang ein Buchstabe oder eine Ziffer.";
    make_file => "Make and save the file" | "Datei erzeugen und speichern";
    file_ready(name: &str) => "{name} was saved." | "{name} wurde gespeichert.";
    file_is_secret => "The file contains a secret. Bring it to the device on a safe way, then delete it." | "Die Datei enthält ein Geheimnis. Bitte auf sicherem Weg zum Gerät bringen und danach löschen.";
    secrets_title => "Access secrets" | "Zugangsgeheimnisse";
    no_secrets => "There is no access secret yet. The first file makes one." | "Es gibt noch kein Zugangsgeheimnis. Die erste Datei erzeugt eines.";
    hospital_wide => "Hospital-wide" | "Für alle Geräte";
    made_at(time: &str) => "Made {time}" | "Erzeugt {time}";
    expires(time: &str) => "Ends {time}" | "Endet {time}";
    no_end => "No end" | "Ohne Ende";

    locked_title(name: &str) => "{name} is locked" | "{name} ist gesperrt";
    locked_text(failures: u32, time: &str) => "{failures} pairings failed within a day, the last at {time}. Somebody may be trying to pass a device off as this one." | "{failures} Kopplungen sind an einem Tag gescheitert, die letzte {time}. Vielleicht versucht jemand, ein anderes Gerät für dieses auszugeben.";
    locked_ask => "Look after the device; an administrator can lift the lock." | "Bitte nach dem Gerät sehen; die Administration kann die Sperre aufheben.";
    lift_lock => "Lift the lock" | "Sperre aufheben";
    lift_lock_of(name: &str) => "Lift the lock of {name}" | "Sperre von {name} aufheben";
    lift_title(name: &str) => "Lift the lock of {name}?" | "Sperre von {name} aufheben?";
    lift_text => "The device can ask to join again at once. Make sure first that it stands where it should and shows what it should." | "Das Gerät kann sofort wieder anfragen. Bitte vorher prüfen, dass es steht, wo es soll, und zeigt, was es soll.";
    lifted(name: &str) => "The lock of {name} is lifted." | "Die Sperre von {name} ist aufgehoben.";
    keep_locked => "Keep it locked" | "Gesperrt lassen";

    people_title => "People" | "Personen";
    add_person => "Add a person" | "Person hinzufügen";
    person_name_hint => "The name to sign in with; capital letters do not matter" | "Der Name zum Anmelden; Großschreibung spielt keine Rolle";
    change_role => "Change role" | "Rolle ändern";
    change_role_of(name: &str) => "Role of {name}" | "Rolle von {name}";
    new_password_of(name: &str) => "New password for {name}" | "Neues Passwort für {name}";
    deactivate => "Deactivate" | "Deaktivieren";
    activate => "Activate" | "Aktivieren";
    inactive => "Inactive" | "Inaktiv";
    last_signed_in(time: &str) => "Last signed in {time}" | "Zuletzt angemeldet {time}";
    never_signed_in => "Never signed in" | "Nie angemeldet";
    role_nurse_hint => "Sees requests, accepts, rejects, verifies" | "Sieht Anfragen, nimmt an, lehnt ab, prüft";
    role_engineer_hint => "Also provisions devices" | "Stellt auch Geräte bereit";
    role_administrator_hint => "Also manages people" | "Verwaltet auch Personen";
    role_auditor_hint => "Reads, changes nothing" | "Liest, ändert nichts";
}
