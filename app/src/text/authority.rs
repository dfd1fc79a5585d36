//! The CA of the site.

use super::texts;

texts! {
    authority_title => "Certificates" | "Zertifikate";
    authority_text => "Who vouches for this site: devices trust one root, and accept only what leads to it." | "Wer für diesen Standort bürgt: Geräte vertrauen einer Wurzel und nehmen nur an, was zu ihr führt.";
    authority_built_in => "The site's own CA" | "Eigene Zertifizierungsstelle des Standorts";
    authority_external => "The hospital's CA" | "Zertifizierungsstelle des Krankenhauses";
    authority_ready => "In order" | "In Ordnung";
    authority_waiting => "No certificate yet" | "Noch kein Zertifikat";
    authority_ended => "Ended" | "Abgelaufen";
    authority_root => "Root" | "Wurzel";
    authority_root_hash => "Its fingerprint (SHA-256)" | "Ihr Fingerabdruck (SHA-256)";
    authority_name => "Issues under" | "Stellt aus als";
    authority_ends(time: &str) => "until {time}" | "bis {time}";
    authority_earlier(count: u32) => "Earlier certificates that still count: {count}" | "Frühere Zertifikate, die noch gelten: {count}";
    authority_server => "Asked at (EST)" | "Gefragt bei (EST)";
    authority_last_try(time: &str) => "Last asked {time}" | "Zuletzt gefragt {time}";
    authority_next_try(time: &str) => "Next time {time}" | "Das nächste Mal {time}";
    authority_approval => "Somebody at the hospital's CA has to approve the request. It is asked again by itself." | "Jemand bei der Zertifizierungsstelle des Krankenhauses muss den Antrag freigeben. Es wird von selbst wieder gefragt.";
    authority_in_words => "In technical words" | "Technisch gesagt";
    authority_ask => "Try again" | "Noch einmal versuchen";
    authority_renew => "Get a new certificate now" | "Jetzt ein neues Zertifikat holen";
    authority_asked => "The hospital's CA is being asked." | "Die Zertifizierungsstelle des Krankenhauses wird gefragt.";
    authority_banner => "This site has no certificate of the hospital's CA: nothing can be paired until it has one." | "Dieser Standort hat kein Zertifikat der Zertifizierungsstelle des Krankenhauses: Bis dahin kann nichts gekoppelt werden.";
    authority_trouble_configuration => "The deployment's variables for the hospital's CA cannot be read." | "Die Variablen für die Zertifizierungsstelle des Krankenhauses sind nicht lesbar.";
    authority_trouble_switched => "The deployment names another CA than the one under which devices are paired. The site stays with the old one." | "Die Installation nennt eine andere Zertifizierungsstelle als die, unter der Geräte gekoppelt sind. Der Standort bleibt bei der bisherigen.";
    authority_trouble_unreachable => "The hospital's CA does not answer." | "Die Zertifizierungsstelle des Krankenhauses antwortet nicht.";
    authority_trouble_credentials => "The hospital's CA does not accept the credentials." | "Die Zertifizierungsstelle des Krankenhauses nimmt die Zugangsdaten nicht an.";
    authority_trouble_answer => "The hospital's CA answers something that is not expected." | "Die Zertifizierungsstelle des Krankenhauses antwortet etwas Unerwartetes.";
    authority_trouble_root => "The hospital's CA has another root than the deployment names. Nothing was sent to it." | "Die Zertifizierungsstelle des Krankenhauses hat eine andere Wurzel, als die Installation nennt. Ihr wurde nichts gesendet.";
    authority_trouble_algorithm => "The hospital's CA does not use ECDSA on P-256 with SHA-256 throughout: devices could not check it." | "Die Zertifizierungsstelle des Krankenhauses verwendet nicht durchgehend ECDSA auf P-256 mit SHA-256: Geräte könnten sie nicht prüfen.";
    authority_trouble_certificate => "The hospital's CA gave a certificate that this site cannot use." | "Die Zertifizierungsstelle des Krankenhauses hat ein Zertifikat gegeben, das dieser Standort nicht brauchen kann.";
    authority_trouble_bridge => "The new certificate is here, and the bridge is being told." | "Das neue Zertifikat ist da und wird der Bridge mitgeteilt.";
    authority_trouble_internal => "Something went wrong at the control unit. Its log says what." | "An der Steuereinheit ging etwas schief. Ihr Protokoll sagt, was.";
}
