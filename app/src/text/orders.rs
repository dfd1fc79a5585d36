//! Orders to devices.

use super::texts;

texts! {
    orders_title => "Orders" | "Aufträge";
    no_orders => "No order was given to this device." | "Diesem Gerät wurde noch kein Auftrag gegeben.";
    give_order => "Give an order" | "Auftrag geben";
    give_order_to(name: &str) => "Give an order to {name}" | "Auftrag geben: {name}";
    give_order_text => "The device carries it out once, and says how it went. What it has not heard of within 10 minutes it does not carry out." | "Das Gerät führt ihn einmal aus und meldet, wie es ausging. Wovon es binnen 10 Minuten nichts erfährt, das führt es nicht aus.";
    order_which => "What is it to do?" | "Was soll es tun?";
    order_message => "Show a message" | "Nachricht zeigen";
    order_message_hint => "On its display, for ten minutes" | "Auf seiner Anzeige, zehn Minuten lang";
    order_report => "Report now" | "Jetzt melden";
    order_report_hint => "What it measures, and its active alarms" | "Was es misst, und seine aktiven Alarme";
    order_silence => "Pause the alarm tone" | "Alarmton pausieren";
    order_silence_hint => "For two minutes; the alarm stays on the display" | "Zwei Minuten lang; der Alarm bleibt auf der Anzeige";
    order_interval => "Change the interval of measurements" | "Messintervall ändern";
    order_interval_hint => "How often it measures and reports" | "Wie oft es misst und meldet";
    order_text => "Message to the staff" | "Nachricht an das Personal";
    order_text_wrong(most: usize) => "Write 1 to {most} bytes." | "Bitte 1 bis {most} Bytes schreiben.";
    order_seconds => "Seconds between measurements" | "Sekunden zwischen zwei Messungen";
    order_seconds_wrong(least: u32, most: u32) => "Choose {least} to {most} seconds." | "Bitte {least} bis {most} Sekunden wählen.";
    order_send => "Send the order" | "Auftrag senden";
    order_sent_title => "The order is on its way" | "Der Auftrag ist unterwegs";
    order_close => "Close" | "Schließen";
    order_is_message(text: &str) => "Show “{text}”" | "„{text}“ zeigen";
    order_is_interval(seconds: u32) => "Measure every {seconds} s" | "Alle {seconds} s messen";
    order_waiting => "Waiting" | "Wartet";
    order_delivered => "Delivered" | "Zugestellt";
    order_done => "Done" | "Ausgeführt";
    order_refused => "Refused" | "Abgelehnt";
    order_expired => "Expired" | "Verfallen";
    order_waiting_text => "Waits until the device has it." | "Wartet, bis das Gerät ihn hat.";
    order_delivered_text => "The device has it." | "Das Gerät hat ihn.";
    order_done_text => "The device has carried it out." | "Das Gerät hat ihn ausgeführt.";
    order_expired_text => "It did not reach the device in time, and is not carried out." | "Er hat das Gerät nicht rechtzeitig erreicht und wird nicht ausgeführt.";
    order_no_alarm => "No alarm is active." | "Kein Alarm ist aktiv.";
    order_out_of_range => "A value is out of its range." | "Ein Wert liegt außerhalb seines Bereichs.";
    order_busy => "The device has too many orders." | "Das Gerät hat zu viele Aufträge.";
    order_interrupted => "The device lost power meanwhile. Look at it before you order it again." | "Das Gerät war zwischendurch ohne Strom. Bitte nachsehen, bevor der Auftrag wiederholt wird.";
    order_given(time: &str, name: &str) => "{time} by {name}" | "{time} von {name}";
    order_given_by_service(time: &str, name: &str) => "{time} by the service {name}" | "{time} vom Dienst {name}";
}
