package masking

// SRTP says whether the media of a trunk's calls is protected (RFC 3711), by keys in
// the descriptions (RFC 4568): whoever reads the signalling can listen in, so it is
// as good as the trunk's transport.
type SRTP string

// What a trunk may say of it; the zero value is off. A caller's offer is answered
// with what it has in any case.
const (
	SRTPOff      SRTP = "off"      // offered to nobody
	SRTPOptional SRTP = "optional" // RTP is offered with keys: whoever knows them takes SRTP
	SRTPRequired SRTP = "required" // nothing else is offered, or taken of a caller
)

// BaresKeys reports whether keys of the trunk's media go over a transport where
// others may read them.
func (t Trunk) BaresKeys() bool { return t.SRTP != "" && t.SRTP != SRTPOff && t.Transport != TLS }

func (s SRTP) check() error {
	if s != "" && s != SRTPOff && s != SRTPOptional && s != SRTPRequired {
		return invalid(CodeInvalidField, "srtp", `srtp must be "off", "optional" or "required"`)
	}
	return nil
}
