//! Verifying a pump with the phone or by its code.

use super::texts;

texts! {
    code_label => "Code on the pump's display" | "Code auf dem Display der Pumpe";
    code_hint => "Eight digits" | "Acht Ziffern";
    verify => "Verify" | "Prüfen";
    verifying => "Verifying…" | "Wird geprüft…";
    verification_waits => "Your entry is kept and sent again by itself; it counts once." | "Ihre Eingabe bleibt und wird von selbst neu gesendet; sie zählt einmal.";
    wrong_code(left: u32) => "The code does not match. {left} attempts are left." | "Der Code stimmt nicht überein. Noch {left} Versuche.";
    wrong_code_one_left => "The code does not match. One attempt is left: read it from the pump once more." | "Der Code stimmt nicht überein. Noch ein Versuch: Bitte ihn noch einmal von der Pumpe ablesen.";
    wrong_code_last => "The code does not match. The pairing has ended; start it again at the pump." | "Der Code stimmt nicht überein. Die Kopplung ist beendet; bitte an der Pumpe neu beginnen.";
    wrong_code_or_serial(left: u32) => "Code and serial number do not both match. Attempts left: {left}." | "Code und Seriennummer stimmen nicht beide. Verbleibende Versuche: {left}.";
    serial_ending => "End of the serial number" | "Ende der Seriennummer";
    serial_ending_hint(n: usize) => "From the label on the casing: the last {n} characters, which are hidden here" | "Vom Schild am Gehäuse: die letzten {n} Zeichen, die hier verborgen sind";
    serial_ending_missing(n: usize) => "Enter the last {n} characters from the casing." | "Bitte die letzten {n} Zeichen vom Gehäuse eingeben.";
    mistyped => "A digit is mistyped. Compare with the pump; this costs no attempt." | "Eine Ziffer ist vertippt. Bitte mit der Pumpe vergleichen; das kostet keinen Versuch.";
    incomplete => "The code has eight digits." | "Der Code hat acht Ziffern.";
    attempts(left: u32) => "{left} attempts left" | "Noch {left} Versuche";
    one_attempt => "1 attempt left" | "Noch 1 Versuch";
    ends_in(time: &str) => "ends in {time}" | "endet in {time}";

    verify_title => "Verify a pump" | "Pumpe prüfen";
    verify_this => "Verify this pump" | "Diese Pumpe prüfen";
    the_pump => "The pump" | "Die Pumpe";
    which_pump => "Which pump?" | "Welche Pumpe?";
    other_pump => "Another pump" | "Andere Pumpe";
    or_scan => "or scan the code of any of them" | "oder den Code von einer scannen";
    or_type => "or type the code that it shows" | "oder den gezeigten Code eintippen";
    nothing_to_verify => "No pump waits" | "Keine Pumpe wartet";
    nothing_to_verify_text => "As soon as a request is accepted and the pump shows its code, it appears here by itself." | "Sobald eine Anfrage angenommen ist und die Pumpe ihren Code zeigt, erscheint sie hier von selbst.";
    to_control_unit => "To the control unit" | "Zur Zentrale";
    to_verification => "See the pumps that wait" | "Wartende Pumpen ansehen";

    scan => "Scan the code" | "Code scannen";
    scan_text => "Uses this phone's camera" | "Benutzt die Kamera dieses Telefons";
    camera_picture => "Picture of the camera" | "Bild der Kamera";
    camera_starts => "The camera starts. Allow it if the browser asks." | "Die Kamera startet. Bitte erlauben, falls der Browser fragt.";
    point_at_code => "Point at the code on the pump's display" | "Auf den Code im Display der Pumpe richten";
    nothing_found => "No code found yet: hold the phone a hand's width away, straight, without reflections." | "Noch kein Code: Telefon eine Handbreit entfernt und gerade halten, ohne Spiegelung.";
    nothing_found_lamp => "Too dark? Switch on the light." | "Zu dunkel? Licht einschalten.";
    nothing_found_zoom => "Small code? Enlarge the picture." | "Kleiner Code? Bild vergrößern.";
    lamp => "Light" | "Licht";
    zoom => "Enlarge the picture" | "Bild vergrößern";
    other_camera => "Other camera" | "Andere Kamera";
    camera_off => "Switch the camera off" | "Kamera ausschalten";
    camera_not_allowed => "The camera is not allowed." | "Die Kamera ist nicht erlaubt.";
    camera_not_allowed_advice => "Allow it for this page in the browser's settings, or type the code." | "Bitte in den Einstellungen des Browsers für diese Seite erlauben oder den Code eintippen.";
    camera_not_found => "There is no camera." | "Es gibt keine Kamera.";
    camera_busy => "Another app uses the camera." | "Eine andere App benutzt die Kamera.";
    camera_busy_advice => "Close it and try again, or type the code." | "Bitte schließen und nochmal versuchen oder den Code eintippen.";
    camera_insecure => "The camera works over https only." | "Die Kamera geht nur über https.";
    camera_failed => "The camera does not start." | "Die Kamera startet nicht.";
    camera_type_instead => "Type the code instead." | "Bitte stattdessen den Code eintippen.";

    scanned_no_pairing => "This is not the code of a pairing. Point at the code on the pump's display." | "Das ist nicht der Code einer Kopplung. Bitte auf den Code im Display der Pumpe richten.";
    scanned_foreign(origin: &str) => "This code belongs to another control unit: {origin}. It was not sent." | "Dieser Code gehört zu einer anderen Zentrale: {origin}. Er wurde nicht gesendet.";
    scanned_old => "This code is from an earlier pairing. Scan the one that the pump shows now." | "Dieser Code stammt von einer früheren Kopplung. Bitte den scannen, den die Pumpe jetzt zeigt.";
    scanned_other(name: &str) => "This is the code of {name}, not of the pump that you chose." | "Das ist der Code von {name}, nicht der gewählten Pumpe.";

    link_title => "Is this the pump in front of you?" | "Ist das die Pumpe vor Ihnen?";
    link_text => "Compare the serial number with the one on the casing." | "Bitte die Seriennummer mit der auf dem Gehäuse vergleichen.";
    verify_this_pump => "Yes, verify it" | "Ja, prüfen";
    link_no_good => "This code is no longer good" | "Dieser Code gilt nicht mehr";
    link_no_good_text => "It was used already, or its pairing has ended. Scan the code that the pump shows now." | "Er wurde schon benutzt, oder die Kopplung ist beendet. Bitte den Code scannen, den die Pumpe jetzt zeigt.";

    outcome_verified => "Verified" | "Geprüft";
    outcome_verified_text => "The pump is getting its keys. This takes a moment." | "Die Pumpe bekommt ihre Schlüssel. Das dauert einen Moment.";
    answer_before => "Enter" | "An der Pumpe";
    answer_after => "on the pump" | "eingeben";
    outcome_connected => "Connected" | "Verbunden";
    outcome_connected_text => "The pump belongs to the network and sends its data." | "Die Pumpe gehört zum Netz und sendet ihre Daten.";
    outcome_ended => "Not paired" | "Nicht gekoppelt";
    outcome_ended_text => "Start the pairing again at the pump." | "Bitte die Kopplung an der Pumpe neu beginnen.";
    next_pump => "Verify another pump" | "Nächste Pumpe prüfen";
}
