package sdp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds on what Parse reads. They are far above what phones and carriers
// send and keep one message from costing more than a few hundred kilobytes.
const (
	maxSize  = 64 << 10 // bytes of a description
	maxLine  = 4 << 10  // bytes of a line
	maxLines = 2048
	maxMedia = 32
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// malformed refuses line n (counted from 1, 0 = the whole). The line is never
// quoted: it may hold a telephone number.
func malformed(n int, why string) error {
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrMalformed, why)
	}
	return fmt.Errorf("%w: line %d: %s", ErrMalformed, n, why)
}

// Parse reads a session description.
//
// It refuses, always with ErrMalformed, only what cannot be understood: more
// than 64 KiB, 2048 lines or 32 streams, a line above 4 KiB, no v=, no m=, an
// m= line without a readable port, and an audio stream that we could carry whose
// address is missing, a host name (resolving it would let a caller make us
// query his name server), multicast or broadcast. Everything else is kept and ignored.
func Parse(b []byte) (*Description, error) {
	if len(b) > maxSize {
		return nil, malformed(0, "too large")
	}
	lines, err := split(string(b))
	if err != nil {
		return nil, err
	}
	d := &Description{}
	var starts []int // index of each m= line
	versioned := false
	for i, l := range lines {
		switch {
		case l.Type == 'm':
			starts = append(starts, i)
		case l.Type == 'v' && len(starts) == 0:
			versioned = true
		}
	}
	switch {
	case !versioned:
		return nil, malformed(0, "no v=")
	case len(starts) == 0:
		return nil, malformed(0, "no m=")
	case len(starts) > maxMedia:
		return nil, malformed(0, "too many streams")
	}
	d.Lines = lines[:starts[0]:starts[0]]
	d.Direction = direction(d.Lines)
	session, _ := connection(d.Lines)
	for i, from := range starts {
		to := len(lines)
		if i+1 < len(starts) {
			to = starts[i+1]
		}
		m, err := section(lines[from:to:to], session, d.Direction)
		if err != nil {
			return nil, err
		}
		d.Media = append(d.Media, m)
	}
	return d, nil
}

// split cuts text into lines at CRLF, LF or CR. Empty lines are left out,
// surrounding blanks and the NUL that some gateways append are cut off.
func split(text string) ([]Line, error) {
	var lines []Line
	for n := 1; text != ""; n++ {
		var line string
		if end := strings.IndexAny(text, "\r\n"); end < 0 {
			line, text = text, ""
		} else {
			line = text[:end]
			if strings.HasPrefix(text[end:], "\r\n") {
				end++
			}
			text = text[end+1:]
		}
		if len(line) > maxLine {
			return nil, malformed(n, "too long")
		}
		line = strings.Trim(line, " \t\x00")
		if line == "" {
			continue
		}
		if len(lines) == maxLines {
			return nil, malformed(0, "too many lines")
		}
		if len(line) >= 2 && line[1] == '=' {
			lines = append(lines, Line{Type: line[0], Value: strings.TrimSpace(line[2:])})
		} else {
			lines = append(lines, Line{Value: line})
		}
	}
	return lines, nil
}

// section reads one stream, m= line first. session and dir are what the
// session section says about all streams.
func section(lines []Line, session netip.Addr, dir Direction) (Media, error) {
	fields := strings.Fields(lines[0].Value)
	if len(fields) < 3 {
		return Media{}, malformed(0, "m= has less than three fields")
	}
	number, _, _ := strings.Cut(fields[1], "/") // "port/count", RFC 4566 §5.14
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return Media{}, malformed(0, "m= without a port")
	}
	m := Media{Type: fields[0], Proto: fields[2], Lines: lines, Direction: direction(lines), Crypto: cryptos(lines), Mux: flag(lines, "rtcp-mux")}
	host, own := connection(lines)
	if !own {
		host = session
	}
	m.Addr = netip.AddrPortFrom(host, uint16(port))
	if m.isAudio() && (!host.IsValid() || host.IsMulticast() || host == limitedBroadcast) {
		return Media{}, malformed(0, "audio without a literal unicast address")
	}
	m.RTCP = rtcpAddr(lines, m.Addr)
	if m.Direction == "" {
		m.Direction = dir
	}
	if host.IsUnspecified() {
		m.Direction = DirectionOf(m.Direction.Sends(), false)
	}
	if m.Direction == "" {
		m.Direction = SendRecv
	}
	m.Ptime, m.MaxPtime = millis(lines, "ptime"), millis(lines, "maxptime")
	if strings.Contains(strings.ToUpper(m.Proto), "RTP/") {
		m.Formats = formats(fields[3:], lines)
	}
	return m, nil
}

// connection gives the address of the first c= line; own is false when there
// is no c= line. The address is invalid when it is not a literal one.
func connection(lines []Line) (host netip.Addr, own bool) {
	for _, l := range lines {
		if l.Type != 'c' {
			continue
		}
		fields := strings.Fields(l.Value)
		if len(fields) < 3 {
			return netip.Addr{}, true
		}
		return literal(fields[2]), true
	}
	return netip.Addr{}, false
}

// literal reads an address, without the multicast TTL that may follow a slash.
// A host name and an address with a zone give the invalid address.
func literal(s string) netip.Addr {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}

// direction gives the first direction attribute, "" if there is none.
func direction(lines []Line) Direction {
	for _, l := range lines {
		if l.Type != 'a' {
			continue
		}
		switch d := Direction(strings.ToLower(l.Value)); d {
		case SendRecv, SendOnly, RecvOnly, Inactive:
			return d
		}
	}
	return ""
}

// flag reports whether there is an "a=name" line.
func flag(lines []Line, name string) bool {
	return slices.ContainsFunc(lines, func(l Line) bool { return l.Type == 'a' && strings.EqualFold(l.Value, name) })
}

// attribute calls use with the value of each "a=name:value" line.
func attribute(lines []Line, name string, use func(value string)) {
	for _, l := range lines {
		if l.Type != 'a' {
			continue
		}
		if key, value, ok := strings.Cut(l.Value, ":"); ok && strings.EqualFold(strings.TrimSpace(key), name) {
			use(strings.TrimSpace(value))
		}
	}
}

// rtcpAddr resolves a=rtcp:port [IN IP4 address] (RFC 3605 §2.1), by default
// the port after RTP's. What a=rtcp-mux makes of it is another's to say: it must
// be agreed on.
func rtcpAddr(lines []Line, rtp netip.AddrPort) netip.AddrPort {
	var addr netip.AddrPort
	if rtp.Port() > 0 && rtp.Port() < 65535 {
		addr = netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
	}
	attribute(lines, "rtcp", func(value string) {
		fields := strings.Fields(value)
		if len(fields) == 0 {
			return
		}
		port, err := strconv.ParseUint(fields[0], 10, 16)
		if err != nil || port == 0 {
			return
		}
		host := rtp.Addr()
		if len(fields) >= 4 {
			if a := literal(fields[3]); a.IsValid() && !a.IsMulticast() {
				host = a
			}
		}
		addr = netip.AddrPortFrom(host, uint16(port))
	})
	return addr
}

// millis reads a time attribute in ms. Fractions (seen from gateways) are cut
// off; what is not between 1 and 500 counts as not given.
func millis(lines []Line, name string) (ms int) {
	attribute(lines, name, func(value string) {
		value, _, _ = strings.Cut(value, ".")
		if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= 500 {
			ms = n
		}
	})
	return ms
}

// formats reads the format list of an RTP stream with its rtpmap and fmtp
// attributes. What is no payload number, or repeats one, is left out.
func formats(numbers []string, lines []Line) []Format {
	maps, params := byPayload(lines, "rtpmap"), byPayload(lines, "fmtp")
	var seen [128]bool
	var list []Format
	for _, s := range numbers {
		n, ok := payloadNumber(s)
		if !ok || seen[n] {
			continue
		}
		seen[n] = true
		f := staticFormat(n)
		if text, ok := maps[n]; ok {
			f = rtpmap(n, text)
		}
		f.Params = params[n]
		list = append(list, f)
	}
	return list
}

// byPayload collects "a=name:payload value" lines; the first of a payload wins.
func byPayload(lines []Line, name string) map[uint8]string {
	found := map[uint8]string{}
	attribute(lines, name, func(value string) {
		number, rest, _ := strings.Cut(value, " ")
		if n, ok := payloadNumber(number); ok {
			if _, twice := found[n]; !twice {
				found[n] = strings.TrimSpace(rest)
			}
		}
	})
	return found
}

// payloadNumber reads a payload type, 0 to 127.
func payloadNumber(s string) (uint8, bool) {
	n, err := strconv.ParseUint(s, 10, 7)
	return uint8(n), err == nil
}

// rtpmap reads "name/clock[/channels]". A clock or channel number that cannot
// be read is 0, which no known codec has.
func rtpmap(payload uint8, text string) Format {
	parts := strings.Split(text, "/")
	f := Format{Payload: payload, Codec: spelling(strings.TrimSpace(parts[0])), Channels: 1}
	if len(parts) > 1 {
		f.Clock, _ = strconv.Atoi(strings.TrimSpace(parts[1]))
	}
	if len(parts) > 2 {
		f.Channels, _ = strconv.Atoi(strings.TrimSpace(parts[2]))
	}
	return f
}
