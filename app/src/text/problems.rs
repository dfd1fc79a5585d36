//! What went wrong, and what to do.

use super::texts;

texts! {
    unreachable => "The control unit cannot be reached." | "Die Zentrale ist nicht erreichbar.";
    unreachable_advice => "Check the network, then try again." | "Bitte die Netzwerkverbindung prüfen und nochmal versuchen.";
    unreadable => "The answer could not be read." | "Die Antwort war nicht lesbar.";
    unreadable_advice(status: u16) => "Reload the page. If it happens again, tell an administrator the code {status}." | "Bitte die Seite neu laden. Tritt es wieder auf, nennen Sie der Administration den Code {status}.";
    bad_request => "The control unit did not accept the entry." | "Die Zentrale hat die Eingabe nicht angenommen.";
    bad_request_advice => "Check what you entered. If it looks right, reload the page: it may be older than the server." | "Bitte die Eingabe prüfen. Stimmt sie, die Seite neu laden: Sie ist vielleicht älter als der Server.";
    signed_out => "You are signed out." | "Sie sind abgemeldet.";
    signed_out_advice => "Sign in again." | "Bitte neu anmelden.";
    wrong_password => "Name or password is wrong." | "Anmeldename oder Passwort ist falsch.";
    wrong_password_advice => "Check both. An administrator can give you a new password." | "Bitte beides prüfen. Die Administration kann Ihnen ein neues Passwort geben.";
    forbidden => "Your role does not allow this." | "Ihre Rolle erlaubt das nicht.";
    forbidden_advice => "Ask a colleague whose role includes it, or an administrator." | "Bitte jemanden mit passender Rolle oder die Administration fragen.";
    foreign_origin => "The request came from a foreign page." | "Die Anfrage kam von einer fremden Seite.";
    foreign_origin_advice => "Open Wardlink at its own address and try again." | "Bitte Wardlink unter seiner eigenen Adresse öffnen und nochmal versuchen.";
    wrong_token => "This one-time link is wrong or used up." | "Dieser Einmal-Link ist falsch oder verbraucht.";
    wrong_token_advice => "Use the link that the server printed last, or sign in if the administrator exists already." | "Bitte den zuletzt ausgegebenen Link benutzen, oder anmelden, falls es die Administration schon gibt.";
    not_found => "It no longer exists." | "Das gibt es nicht mehr.";
    not_found_advice => "Go back to the list: somebody else may have removed it." | "Bitte zurück zur Liste: Vielleicht hat es jemand entfernt.";
    method_not_allowed => "This page does not fit the server." | "Diese Seite passt nicht zum Server.";
    method_not_allowed_advice => "Reload the page." | "Bitte die Seite neu laden.";
    wrong_state => "The pairing has moved on meanwhile." | "Die Kopplung ist inzwischen weiter.";
    wrong_state_advice => "Look at its present state; somebody else may have acted, or its time was over." | "Bitte den jetzigen Stand ansehen; vielleicht hat jemand anders gehandelt, oder die Zeit war um.";
    name_taken => "This name is taken." | "Dieser Name ist vergeben.";
    name_taken_advice => "Choose another name." | "Bitte einen anderen Namen wählen.";
    last_administrator => "The last active administrator has to stay." | "Die letzte aktive Administration muss bleiben.";
    last_administrator_advice => "Make somebody else administrator first." | "Bitte zuerst jemand anderem diese Rolle geben.";
    conflict => "Two requests have the same identifier." | "Zwei Anfragen haben dieselbe Kennung.";
    conflict_advice => "Compare serial number and key with the devices, and reject the wrong one." | "Bitte Seriennummer und Schlüssel mit den Geräten vergleichen und die falsche ablehnen.";
    mode_not_allowed => "This way of verifying is not allowed here." | "Diese Art der Prüfung ist hier nicht erlaubt.";
    mode_not_allowed_advice => "Choose a stronger one." | "Bitte eine stärkere wählen.";
    outdated => "Somebody else has changed it meanwhile." | "Jemand anders hat es inzwischen geändert.";
    outdated_advice => "Look at the present state, then change it again." | "Bitte den jetzigen Stand ansehen und nochmal ändern.";
    invalid_policy => "These rules do not fit together." | "Diese Regeln passen nicht zusammen.";
    invalid_policy_advice => "Check the entries." | "Bitte die Einträge prüfen.";
    serial_needed => "The serial number is asked for, too." | "Die Seriennummer wird auch gebraucht.";
    serial_needed_advice => "Enter the last four characters from the label on the casing." | "Bitte die letzten vier Zeichen vom Schild am Gehäuse eingeben.";
    weak_password => "The password is too short or too long." | "Das Passwort ist zu kurz oder zu lang.";
    weak_password_advice => "Choose one that follows the rule." | "Bitte eines wählen, das der Regel entspricht.";
    too_many_attempts => "Too many attempts." | "Zu viele Versuche.";
    too_many_attempts_advice(seconds: u64) => "Wait {seconds} seconds, then try again." | "Bitte {seconds} Sekunden warten, dann nochmal versuchen.";
    too_many_attempts_soon => "Wait a moment, then try again." | "Bitte einen Moment warten, dann nochmal versuchen.";
    internal => "The control unit had an error." | "In der Zentrale ist ein Fehler aufgetreten.";
    internal_advice => "Try again. If it happens again, tell an administrator." | "Bitte nochmal versuchen. Tritt es wieder auf, bitte die Administration verständigen.";
    unavailable => "A part of the control unit is not ready." | "Ein Teil der Zentrale ist nicht bereit.";
    unavailable_advice => "Wait a moment, then try again." | "Bitte einen Moment warten, dann nochmal versuchen.";
}
