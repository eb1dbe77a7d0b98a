package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// madCarrier is a carrier that keeps to no rule. It calls and is called over UDP
// and TCP, and mixes what is right with what is not. All its choices are drawn from
// one seed; what there is to choose from depends on what the server has said.
type madCarrier struct {
	t       testing.TB
	rng     *rand.Rand
	callers []string
	numbers []string // virtual numbers to call; ten callers may call each of the first

	udp      *net.UDPConn
	listener net.Listener
	conn     net.Conn // to the server
	toUDP    *net.UDPAddr
	toTCP    netip.AddrPort
	in       chan string // what the server sends
	wg       sync.WaitGroup
	mu       sync.Mutex
	accepted []net.Conn

	dialogs []*madDialog
	said    []utterance // the latest
	kept    []utterance // to be said later
	invites []string    // that reached us
	seen    map[string]int
	count   int
	lost    int // datagrams that the network lost, as far as pings tell
}

// utterance is a message and what it goes over.
type utterance struct{ network, text string }

// madDialog is one dialog as far as the carrier cares.
type madDialog struct {
	ours          bool // we called
	network       string
	callID        string
	local, remote string // From and To of our requests
	uri           string
	seq           int
	branch        string // of our INVITE
	invite        string // theirs
	answered      string // the 2xx that we got
	caller        string
	over          bool // as far as the server has told
}

func newMadCarrier(st *stage, seed uint64, ip string, callers, numbers []string) *madCarrier {
	st.t.Helper()
	m := &madCarrier{t: st.t, rng: rand.New(rand.NewPCG(seed, 4475)), callers: callers, numbers: numbers, in: make(chan string, 1<<14),
		toUDP: net.UDPAddrFromAddrPort(st.SIP("udp")), toTCP: st.SIP("tcp"), seen: map[string]int{}}
	at := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
	var err error
	m.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	st.must(err)
	m.listener, err = net.Listen("tcp4", at.String())
	st.must(err)
	m.wg.Go(m.readUDP)
	m.wg.Go(m.accept)
	st.t.Cleanup(m.close)
	return m
}

func (m *madCarrier) close() {
	_ = m.udp.Close()
	_ = m.listener.Close()
	if m.conn != nil {
		_ = m.conn.Close()
	}
	m.mu.Lock()
	for _, c := range m.accepted {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

func (m *madCarrier) addr(network string) string {
	if network == "tcp" {
		return m.listener.Addr().String()
	}
	return m.udp.LocalAddr().String()
}

func (m *madCarrier) hear(text string) {
	select {
	case m.in <- text:
	default: // nobody reads while the carrier is busy
	}
}

func (m *madCarrier) readUDP() {
	buf := make([]byte, 65536)
	for {
		n, err := m.udp.Read(buf)
		if err != nil {
			return
		}
		m.hear(string(buf[:n]))
	}
}

func (m *madCarrier) accept() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.accepted = append(m.accepted, c)
		m.mu.Unlock()
		m.wg.Go(func() { m.readTCP(c) })
	}
}

// readTCP cuts what the server sends into messages; the server's framing is right.
func (m *madCarrier) readTCP(c net.Conn) {
	var have []byte
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		have = append(have, buf[:n]...)
		for {
			have = bytes.TrimLeft(have, "\r\n")
			head, _, whole := bytes.Cut(have, []byte("\r\n\r\n"))
			size := len(head) + 4
			if length := fieldOf(string(head), "Content-Length"); length != "" {
				body, _ := strconv.Atoi(length)
				size += body
			}
			if !whole || len(have) < size {
				break
			}
			m.hear(string(have[:size]))
			have = have[size:]
		}
	}
}

// say sends a message. One that is broken may cost the connection; the next takes
// a new one.
func (m *madCarrier) say(u utterance) {
	if m.said = append(m.said, u); len(m.said) > 64 {
		m.said = m.said[1:]
	}
	if u.network == "udp" {
		_, _ = m.udp.WriteToUDP([]byte(u.text), m.toUDP) // too long for a datagram is no fault
		return
	}
	for range 2 {
		if m.conn == nil {
			local := &net.TCPAddr{IP: m.listener.Addr().(*net.TCPAddr).IP}
			c, err := (&net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}).Dial("tcp4", m.toTCP.String())
			if err != nil {
				m.t.Fatalf("the server takes no connection: %v", err)
			}
			m.conn = c
			m.wg.Go(func() { m.readTCP(c) })
		}
		_ = m.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := m.conn.Write([]byte(u.text)); err == nil {
			return
		}
		_ = m.conn.Close()
		m.conn = nil
	}
}

// one draws an element.
func one[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

func (m *madCarrier) chance(percent int) bool { return m.rng.IntN(100) < percent }

func (m *madCarrier) word() string { return strconv.FormatUint(m.rng.Uint64(), 36) }

// fieldOf is the first value of a header field.
func fieldOf(text, name string) string {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// compose makes a message of lines and body.
func compose(lines []string, body string) string {
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	return strings.Join(append(lines, "Content-Length: "+strconv.Itoa(len(body))), "\r\n") + "\r\n\r\n" + body
}

// request is a request within a dialog, or the one that makes it.
func (m *madCarrier) request(d *madDialog, method string, seq int, branch, body string) utterance {
	if method == "INVITE" {
		d.branch = branch
	}
	contact := "<sip:mad@" + m.addr(d.network) + ";transport=" + d.network + ">"
	return utterance{d.network, compose([]string{method + " " + d.uri + " SIP/2.0",
		"Via: SIP/2.0/" + strings.ToUpper(d.network) + " " + m.addr(d.network) + ";rport;branch=" + branch,
		"Max-Forwards: 70", "From: " + d.local, "To: " + d.remote, "Call-ID: " + d.callID,
		"CSeq: " + strconv.Itoa(seq) + " " + method, "Contact: " + contact}, body)}
}

func (m *madCarrier) branch() string { return "z9hG4bK" + m.word() }

// response answers a request of the server.
func (m *madCarrier) response(request string, status int, tag, body string) utterance {
	to := fieldOf(request, "To")
	if tag != "" && !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	network := "udp"
	if strings.HasPrefix(fieldOf(request, "Via"), "SIP/2.0/TCP") {
		network = "tcp"
	}
	return utterance{network, compose([]string{fmt.Sprintf("SIP/2.0 %d Mad", status), "Via: " + fieldOf(request, "Via"),
		"From: " + fieldOf(request, "From"), "To: " + to, "Call-ID: " + fieldOf(request, "Call-ID"), "CSeq: " + fieldOf(request, "CSeq"),
		"Contact: <sip:mad@" + m.addr(network) + ">", "P-Asserted-Identity: <sip:" + one(m.rng, m.callers...) + "@mad>"}, body)}
}

// listen takes in what has come and, mostly, does what is due about it.
func (m *madCarrier) listen() {
	for {
		select {
		case text := <-m.in:
			m.take(text)
		default:
			return
		}
	}
}

func (m *madCarrier) take(text string) {
	start, _, _ := strings.Cut(text, "\r\n")
	word, _, _ := strings.Cut(start, " ")
	if word == "SIP/2.0" {
		m.takeResponse(text, start[8:11])
		return
	}
	m.seen[word]++
	callID := fieldOf(text, "Call-ID")
	switch word {
	case "INVITE":
		if tagIn(fieldOf(text, "To")) != "" { // within a dialog
			m.say(m.response(text, one(m.rng, 100, 180, 200, 200, 200, 200, 488, 491, 500), "", descriptions[0]))
			return
		}
		for _, d := range m.dialogs {
			if d.callID == callID && d.invite != "" {
				return // a retransmission
			}
		}
		m.invites = append(m.invites, text)
		d := &madDialog{network: "udp", callID: callID, local: fieldOf(text, "To") + ";tag=" + m.word(), remote: fieldOf(text, "From"),
			uri: strings.Trim(fieldOf(text, "Contact"), "<>"), seq: m.rng.IntN(1000), invite: text}
		m.dialogs = append(m.dialogs, d)
		for _, status := range one(m.rng, []int{}, []int{180}, []int{180, 200}, []int{183, 200}, []int{200}) {
			m.say(m.response(text, status, tagIn(d.local), descriptions[0]))
		}
	case "BYE", "CANCEL":
		if m.chance(85) {
			m.say(m.response(text, 200, "", ""))
		}
		d := m.dialogOf(callID)
		if d == nil {
			return
		}
		d.over = true
		if word == "CANCEL" && d.invite != "" && m.chance(85) {
			m.say(m.response(d.invite, 487, tagIn(d.local), ""))
		}
	}
}

func tagIn(value string) string {
	_, tag, _ := strings.Cut(value, ";tag=")
	return tag
}

func (m *madCarrier) dialogOf(callID string) *madDialog {
	for _, d := range m.dialogs {
		if d.callID == callID {
			return d
		}
	}
	return nil
}

func (m *madCarrier) takeResponse(text, status string) {
	d := m.dialogOf(fieldOf(text, "Call-ID"))
	if d == nil {
		return
	}
	m.seen[status]++
	if tag := tagIn(fieldOf(text, "To")); d.ours && tag != "" && tagIn(d.remote) == "" && status[0] <= '2' {
		d.remote += ";tag=" + tag
	}
	_, method, _ := strings.Cut(fieldOf(text, "CSeq"), " ")
	d.over = d.over || status == "481" || status == "200" && method == "BYE" || status[0] > '2' && method == "INVITE" && d.answered == ""
	if status[0] == '2' && method == "INVITE" {
		d.answered = text
		if m.chance(80) {
			m.say(m.ack(d))
		}
	}
}

func (m *madCarrier) ack(d *madDialog) utterance {
	digits, _, _ := strings.Cut(fieldOf(d.answered, "CSeq"), " ")
	seq, _ := strconv.Atoi(digits)
	return m.request(d, "ACK", seq, m.branch(), "")
}

// step says one thing.
func (m *madCarrier) step() {
	m.count++
	m.listen()
	switch n := m.rng.IntN(100); {
	case n < 10:
		m.say(m.call())
	case n < 62:
		m.say(m.proceed())
	case n < 68 && len(m.said) > 0:
		m.say(one(m.rng, m.said...)) // again
	case n < 72:
		m.kept = append(m.kept, m.proceed())
	case n < 76 && len(m.kept) > 0:
		i := m.rng.IntN(len(m.kept))
		late := m.kept[i]
		m.kept = append(m.kept[:i], m.kept[i+1:]...)
		m.say(late)
	case n < 79:
		m.say(m.garbage())
	case n < 83 && len(m.said) > 0:
		m.say(m.unasked())
	default:
		u := m.proceed()
		if m.chance(20) {
			u = m.call()
		}
		for range 1 + m.rng.IntN(3) {
			u.text = m.mutate(u.text)
		}
		m.say(u)
	}
	if len(m.dialogs) > 60 {
		i := max(0, slices.IndexFunc(m.dialogs, func(d *madDialog) bool { return d.over }))
		m.dialogs = slices.Delete(m.dialogs, i, i+1)
	}
}

// call begins a call.
func (m *madCarrier) call() utterance {
	i := m.rng.IntN(len(m.callers))
	for range 10 { // mostly one who has no call yet
		if !slices.ContainsFunc(m.dialogs, func(d *madDialog) bool { return d.caller == m.callers[i] && !d.over }) {
			break
		}
		i = m.rng.IntN(len(m.callers))
	}
	from, to := m.callers[i], m.numbers[i/10]
	if m.chance(15) {
		to = one(m.rng, m.numbers...)
	}
	if m.chance(5) {
		from = one(m.rng, "anonymous", "+1", "", "+914000000001", "%00")
	}
	d := &madDialog{ours: true, caller: from, network: one(m.rng, "udp", "udp", "tcp"), callID: m.word() + "@" + strings.TrimPrefix(from, "+"),
		local: "<sip:" + from + "@mad>;tag=" + m.word(), remote: "<sip:" + to + "@tandem>", uri: "sip:" + to + "@" + m.toTCP.String()}
	d.seq = 1 + m.rng.IntN(10)
	m.dialogs = append(m.dialogs, d)
	return m.request(d, "INVITE", d.seq, m.branch(), m.description())
}

// proceed says something that may be right in a dialog.
func (m *madCarrier) proceed() utterance {
	if len(m.dialogs) == 0 {
		return m.call()
	}
	d := one(m.rng, m.dialogs...)
	for range 10 { // mostly one that is not over
		if !d.over || m.chance(10) {
			break
		}
		d = one(m.rng, m.dialogs...)
	}
	if !d.ours && m.chance(60) {
		status := one(m.rng, 100, 180, 183, 199, 200, 200, 200, 200, 200, 200, 200, 200, 202, 299, 302, 403, 404, 408, 480, 486, 487, 500, 503, 603, 699)
		tag := tagIn(d.local)
		if m.chance(10) {
			tag = m.word() // another fork
		}
		return m.response(d.invite, status, tag, m.description())
	}
	switch method := one(m.rng, "BYE", "BYE", "BYE", "BYE", "CANCEL", "ACK", "ACK", "INVITE", "INVITE", "INVITE", "UPDATE", "UPDATE", "OPTIONS", "INFO", "REFER", "PRACK", "FROB"); method {
	case "CANCEL":
		return m.request(d, method, d.seq, d.branch, "")
	case "ACK":
		if d.answered != "" {
			return m.ack(d)
		}
		return m.request(d, method, d.seq, d.branch, "")
	default:
		if m.chance(95) {
			d.seq++
		} else {
			d.seq = m.rng.IntN(1 << 20)
		}
		return m.request(d, method, d.seq, m.branch(), m.description())
	}
}

// description is a body, mostly one that can be carried.
func (m *madCarrier) description() string {
	if m.chance(75) {
		return one(m.rng, descriptions[:3]...)
	}
	return one(m.rng, descriptions...)
}

// garbage is no SIP.
func (m *madCarrier) garbage() utterance {
	b := make([]byte, m.rng.IntN(600))
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return utterance{one(m.rng, "udp", "udp", "tcp"), one(m.rng, string(b), "\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "INVITE\r\n\r\n", "\x00\x00\x00\x00", "GET / HTTP/1.1\r\n\r\n")}
}

// unasked is a response to what nobody asked, or to our own words.
func (m *madCarrier) unasked() utterance {
	u := m.response(one(m.rng, m.said...).text, one(m.rng, 100, 180, 200, 200, 486), m.word(), one(m.rng, descriptions...))
	if len(m.invites) > 0 && m.chance(70) {
		u = m.response(one(m.rng, m.invites...), one(m.rng, 180, 200, 200, 487, 603), m.word(), one(m.rng, descriptions...))
	}
	return u
}

// ping sees that the server answers, and so that it has read what was sent before.
// A datagram that the network loses is sent again, as any OPTIONS is.
func (m *madCarrier) ping() {
	d := &madDialog{network: "udp", callID: "ping-" + m.word(), local: "<sip:ping@mad>;tag=1", remote: "<sip:ping@tandem>", uri: "sip:" + m.toTCP.String()}
	u := m.request(d, "OPTIONS", 1, m.branch(), "")
	m.say(u)
	again, end := time.NewTicker(200*time.Millisecond), time.After(5*time.Second)
	defer again.Stop()
	for {
		select {
		case text := <-m.in:
			if fieldOf(text, "Call-ID") == d.callID {
				return
			}
			m.take(text)
		case <-again.C:
			m.lost++
			m.say(u)
		case <-end:
			m.t.Fatalf("after %d steps the server answers no more", m.count)
		}
	}
}
