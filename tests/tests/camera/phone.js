// Two lenses, a lamp and a zoom. `opened`: the lenses that were asked for; `asked`: the settings of the one that is open.
{
  const lenses = ["back", "wide"];
  const devices = navigator.mediaDevices;
  const getUserMedia = devices?.getUserMedia.bind(devices);
  window.opened = [];
  window.asked = [];
  let lens = lenses[0];
  if (devices) {
    devices.getUserMedia = ({ video: { deviceId, ...video } }) => {
      lens = deviceId?.exact ?? lenses[0];
      window.opened.push(deviceId?.exact ?? null);
      return getUserMedia({ video });
    };
    devices.enumerateDevices = async () => lenses.map((id) => Object.create(MediaDeviceInfo.prototype, {
      kind: { value: "videoinput" },
      deviceId: { value: id },
    }));
  }
  MediaStreamTrack.prototype.getCapabilities = () => ({ torch: true, zoom: { min: 1, max: 8, step: 0.1 } });
  MediaStreamTrack.prototype.getSettings = () => ({ deviceId: lens });
  MediaStreamTrack.prototype.applyConstraints = async ({ advanced }) => { window.asked.push(...advanced); };
}
