//! Words of every screen: signing in, navigation, states of lists, times.

use super::texts;

texts! {
    close => "Close" | "Schließen";
    cancel => "Cancel" | "Abbrechen";
    save => "Save" | "Speichern";
    add_entry => "Add" | "Hinzufügen";
    take_over => "Apply" | "Übernehmen";
    undo => "Undo" | "Rückgängig";
    try_again => "Try again" | "Nochmal versuchen";
    loading => "Loading" | "Wird geladen";
    skip => "Skip to the content" | "Zum Inhalt springen";
    navigation_label => "Main navigation" | "Hauptnavigation";

    seconds(n: u64) => "{n} s" | "{n}\u{202f}s";
    minutes(n: u64) => "{n} min" | "{n}\u{202f}min";
    hours(n: u64) => "{n} h" | "{n}\u{202f}h";
    days(n: u64) => "{n} d" | "{n} Tagen";

    preferences => "Language and appearance" | "Sprache und Darstellung";
    language_label => "Language" | "Sprache";
    theme_label => "Appearance" | "Darstellung";
    theme_system => "Auto" | "Auto";
    theme_light => "Light" | "Hell";
    theme_dark => "Dark" | "Dunkel";

    sign_in_title => "Sign in" | "Anmelden";
    sign_in => "Sign in" | "Anmelden";
    signing_in => "Signing in…" | "Anmeldung läuft…";
    sign_out => "Sign out" | "Abmelden";
    person_name => "Name" | "Anmeldename";
    password => "Password" | "Passwort";
    new_password => "New password" | "Neues Passwort";
    name_missing => "Enter a name." | "Bitte einen Anmeldenamen eingeben.";
    password_rule(least: usize) => "At least {least} characters. Several words are easy to remember and hard to guess." | "Mindestens {least} Zeichen. Mehrere Wörter sind leicht zu merken und schwer zu raten.";
    password_too_short(has: usize, least: usize) => "The password has {has} of at least {least} characters." | "Das Passwort hat {has} von mindestens {least} Zeichen.";
    password_too_long(most: usize) => "The password is longer than {most} bytes. Choose a shorter one." | "Das Passwort ist länger als {most} Bytes. Bitte ein kürzeres wählen.";
    nobody_yet => "There is no administrator yet. Open the one-time link that the server printed when it started." | "Es gibt noch keine Administration. Bitte den Einmal-Link öffnen, den der Server beim Start ausgegeben hat.";
    welcome_title => "Welcome to Wardlink" | "Willkommen bei Wardlink";
    welcome_text => "You are the first administrator of this site. Choose a name and a password; the link works once." | "Sie richten als erste Person die Administration dieses Standorts ein. Wählen Sie Anmeldename und Passwort; der Link gilt einmal.";
    create_administrator => "Create the account and sign in" | "Konto anlegen und anmelden";

    lock_title => "Locked" | "Gesperrt";
    lock_text => "Everything is hidden. Nothing that was typed is lost." | "Alles ist verborgen. Ihre Eingaben sind noch da.";
    lock_continue(name: &str) => "Continue as {name}" | "Weiter als {name}";
    lock_somebody_else => "Somebody else" | "Jemand anders";
    lock_now => "Lock now" | "Jetzt sperren";
    lock_after => "Lock after" | "Sperren nach";

    connecting => "Connecting…" | "Verbindung wird aufgebaut…";
    is_live => "Live" | "Aktuell";
    link_lost_word => "Not up to date" | "Nicht aktuell";
    link_lost => "The connection is lost. What you see may be out of date; it comes back by itself, and nothing that you typed is lost." | "Die Verbindung ist unterbrochen. Die Anzeige ist eventuell nicht aktuell; sie kommt von selbst zurück, und Ihre Eingaben bleiben erhalten.";
    link_lost_phone => "The connection is lost. It is tried again by itself; what you typed is kept." | "Die Verbindung ist unterbrochen. Sie wird von selbst neu aufgebaut; Ihre Eingabe bleibt erhalten.";

    requests_nav => "Requests" | "Anfragen";
    devices_nav => "Devices" | "Geräte";
    provisioning_nav => "Access" | "Zugang";
    people_nav => "People" | "Personen";
    nowhere_title => "There is no such page" | "Diese Seite gibt es nicht";
    nowhere_text => "The address is wrong, or your role does not include this page." | "Die Adresse stimmt nicht, oder Ihre Rolle umfasst diese Seite nicht.";

    role => "Role" | "Rolle";
    role_nurse => "Nurse" | "Pflege";
    role_engineer => "Biomedical engineer" | "Medizintechnik";
    role_administrator => "Administrator" | "Administration";
    role_auditor => "Auditor" | "Revision";
}
