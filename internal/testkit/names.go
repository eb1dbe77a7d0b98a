package testkit

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"tandem/internal/voice/phone"
)

// names gives stable names to what differs from run to run, in the order in which it
// first occurs.
type names struct {
	known    map[string]string
	counts   map[string]int
	versions map[string]uint64 // of a session id: its first version
}

func newNames(c Chart) *names {
	n := &names{known: make(map[string]string), counts: make(map[string]int), versions: make(map[string]uint64)}
	for _, a := range c.Tandem {
		n.address(a, "tandem")
	}
	for _, l := range c.Legs {
		n.address(l.Addr, strings.ToLower(l.Name))
	}
	return n
}

// address names a SIP address; the host alone stays what it is, since several may share it.
func (n *names) address(a netip.AddrPort, name string) { n.known[a.String()] = name + ".example" }

// of gives the name of a value of some kind.
func (n *names) of(kind, value string) string {
	key := kind + " " + value
	if n.known[key] == "" {
		n.counts[kind]++
		n.known[key] = fmt.Sprintf("%s-%d", kind, n.counts[kind])
	}
	return n.known[key]
}

var (
	hostPort    = regexp.MustCompile(`(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-fA-F:]+\]):[0-9]{1,5}\b`)
	loneAddress = regexp.MustCompile(`\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`)
	tagParam    = regexp.MustCompile(`;tag=[^;,\s>]+`)
	mediaLine   = regexp.MustCompile(`^(m=[a-z]+) ([1-9][0-9]*) `)
	originLine  = regexp.MustCompile(`^(o=\S+) (\d+) (\d+) `)
	numberLine  = regexp.MustCompile(`^(RSeq|RAck): (\d+)`)
	rtcpLine    = regexp.MustCompile(`^(a=rtcp):(\d+)`)
)

// dropped are header fields that say nothing about the call.
const dropped = " via content-length max-forwards date timestamp "

// message writes a message with names in place of what differs, and without the digit
// that an INFO tells: it may be one of a PIN.
func (n *names) message(leg string, s phone.Step) string {
	head, body, _ := strings.Cut(string(s.Raw), "\r\n\r\n")
	var b strings.Builder
	for i, line := range strings.Split(head, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if i > 0 && strings.Contains(dropped, " "+name+" ") {
			continue
		}
		if i > 0 && name == "call-id" {
			line = "Call-ID: call-" + leg
		}
		if m := numberLine.FindStringSubmatch(line); i > 0 && m != nil {
			line = m[1] + ": " + n.of("rseq", m[2]) + line[len(m[0]):]
		}
		b.WriteString(n.line(line) + "\n")
	}
	if body == "" {
		return b.String()
	}
	b.WriteString("\n")
	if s.Digit() {
		b.WriteString("(a digit)\n")
		return b.String()
	}
	for line := range strings.SplitSeq(strings.TrimRight(body, "\r\n"), "\r\n") {
		b.WriteString(n.description(line) + "\n")
	}
	return b.String()
}

// line names addresses and tags.
func (n *names) line(s string) string {
	s = tagParam.ReplaceAllStringFunc(s, func(tag string) string { return ";tag=" + n.of("tag", tag) })
	s = hostPort.ReplaceAllStringFunc(s, func(a string) string {
		if name := n.known[a]; name != "" {
			return name
		}
		return n.of("address", a)
	})
	return loneAddress.ReplaceAllString(s, "address")
}

// description names what differs in a line of SDP.
func (n *names) description(s string) string {
	if m := originLine.FindStringSubmatch(s); m != nil {
		version, _ := strconv.ParseUint(m[3], 10, 64) // digits; beyond 64 bits all are alike
		if _, ok := n.versions[m[2]]; !ok {
			n.versions[m[2]] = version
		}
		s = fmt.Sprintf("%s %s version-%d %s", m[1], n.of("session", m[2]), 1+version-n.versions[m[2]], s[len(m[0]):])
	}
	if m := mediaLine.FindStringSubmatch(s); m != nil {
		s = m[1] + " " + n.of("port", m[2]) + " " + s[len(m[0]):]
	}
	if m := rtcpLine.FindStringSubmatch(s); m != nil {
		s = m[1] + ":" + n.of("port", m[2]) + s[len(m[0]):]
	}
	return n.line(s)
}
