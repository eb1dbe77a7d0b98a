package e2e

import (
	"strconv"
	"strings"
)

// descriptions are bodies; the first three can be carried.
var descriptions = []string{
	sdpOf("c=IN IP4 127.0.0.5", "m=audio 41000 RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000"),
	sdpOf("c=IN IP4 127.0.0.5", "m=audio 41002 RTP/AVP 0", "a=sendrecv"),
	sdpOf("c=IN IP4 127.0.0.5", "m=audio 41004 RTP/AVP 8", "a=sendonly"),
	"",
	sdpOf("m=audio 99999 RTP/AVP 8 300 -1"),
	sdpOf("c=IN IP6 ::", "m=audio 0 RTP/AVP 8"),
	sdpOf("m=video 4 RTP/AVP 96", "m=audio 41000 RTP/SAVP 8", "a=fmtp:96 "+strings.Repeat("9", 5000)),
	"v=0\r\no=\r\n",
	"\x00\xff\r\n\r\n",
}

func sdpOf(lines ...string) string {
	return strings.Join(append([]string{"v=0", "o=- 1 1 IN IP4 127.0.0.5", "s=-", "t=0 0"}, lines...), "\r\n") + "\r\n"
}

// mutate changes one thing of a message.
func (m *madCarrier) mutate(text string) string {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	i := m.rng.IntN(len(lines))
	join := func() string { return strings.Join(lines, "\r\n") + "\r\n\r\n" + body }
	switch m.rng.IntN(14) {
	case 0: // a bit of the head
		if b := []byte(text); len(b) > 0 {
			b[m.rng.IntN(len(head)+1)%len(b)] ^= 1 << m.rng.IntN(8)
			return string(b)
		}
	case 1:
		return text[:m.rng.IntN(len(text)+1)]
	case 2:
		lines = append(lines, lines[i])
		return join()
	case 3:
		lines = append(lines[:i:i], lines[i+1:]...)
		return join()
	case 4:
		j := m.rng.IntN(len(lines))
		lines[i], lines[j] = lines[j], lines[i]
		return join()
	case 5:
		return strings.Replace(text, ";tag=", one(m.rng, ";tag=x", ";tag", ";tag=;tag=", ";tag=\"a b\";x="), 1+m.rng.IntN(2))
	case 6:
		return m.replaceField(text, "CSeq", one(m.rng, "0", "1", "1000000000", "2147483648", "99999999999999999999", "-1")+" "+
			one(m.rng, "INVITE", "BYE", "ACK", "X"))
	case 7: // another dialog's
		if len(m.dialogs) > 0 {
			d := one(m.rng, m.dialogs...)
			text = m.replaceField(text, "Call-ID", d.callID)
			if m.chance(50) {
				text = m.replaceField(text, "To", d.remote)
			}
			return text
		}
	case 8:
		return strings.Replace(text, "branch=z9hG4bK", one(m.rng, "branch=", "branch=z9hG4bKz", "branch=z9hG4bK;x=", "bunch="), 1)
	case 9:
		method, rest, _ := strings.Cut(text, " ")
		return one(m.rng, "INVITE", "ACK", "BYE", "invite", "REGISTER", strings.Repeat("Q", 3000), method+"2") + " " + rest
	case 10:
		return m.replaceField(text, "Content-Length", one(m.rng, "0", "1", "65535", "4294967296", "-5", "ten"))
	case 11:
		return strings.Join(lines, "\r\n") + "\r\n\r\n" + one(m.rng, descriptions...)
	case 12:
		lines = append(lines, strings.Split(strings.Repeat("X-Much: "+m.word()+"\r\n", one(m.rng, 1, 20, 300))+"X: y", "\r\n")...)
		return join()
	}
	lines = append(lines[:len(lines):len(lines)], one(m.rng, "Require: 100rel", "Require: "+m.word(), "Contact: *", "Contact: <tel:"+one(m.rng, m.callers...)+">",
		"Record-Route: <sip:127.0.0.5;lr>, <sip:"+m.word()+">", "Record-Route: <sip:127.0.0.5:1>", "Route: <sip:x>", "Max-Forwards: 0", "Content-Encoding: gzip",
		"Timestamp: "+one(m.rng, m.callers...), "Subject: "+one(m.rng, m.callers...), "Replaces: x;to-tag=y;from-tag=z",
		"Content-Type: multipart/mixed;boundary=x", "P-Asserted-Identity: <tel:"+one(m.rng, m.callers...)+">", "v: SIP/2.0/UDP y", "l: "+strconv.Itoa(m.rng.IntN(99))))
	return join()
}

// replaceField writes another value into a header field.
func (m *madCarrier) replaceField(text, name, value string) string {
	return strings.Replace(text, name+": "+fieldOf(text, name), name+": "+value, 1)
}
