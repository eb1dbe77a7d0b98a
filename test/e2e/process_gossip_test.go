package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/testkit"
)

var (
	gossipCases = flag.Int("gossipcases", 20000, "messages of carriers that tell all they know")
	gossipSeed  = flag.Uint64("gossipseed", 0, "seed of what they say; 0 = the time")
)

// gossips is how many pairs of carriers talk at once, each about ten pairs of people.
const gossips = 8

// gossipReachesNobody has carriers on both legs put the number of their party, in any
// spelling, into any header field, description or other body of any message at any
// moment of a call. Nothing that the other leg gets may hold it.
func gossipReachesNobody(t *testing.T, s *site) {
	seed := *gossipSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/e2e -run %s -gossipseed %d -gossipcases %d", strings.ReplaceAll(t.Name(), " ", "_"), seed, *gossipCases)
	s.environ = append(s.environ, "TANDEM_LOG_LEVEL=info")
	p := s.start()
	country := "IN"
	_, err := s.api.CreateTrunk(s.ctx, client.NewTrunk{Name: "in", TrunkSettings: client.TrunkSettings{Country: &country,
		Sources: []string{"127.0.0.4/32"}}})
	s.must(err)
	var said, calls, talks atomic.Int64
	var all sync.WaitGroup
	var pairs []*gossip
	for i := range gossips {
		g := newGossip(s, p, seed, i)
		pairs = append(pairs, g)
	}
	pairs[gossips-1].out.known() // and so are the trunks before it
	for _, g := range pairs {
		all.Go(func() {
			for g.said() < *gossipCases/gossips && s.ctx.Err() == nil && !t.Failed() {
				g.call()
			}
			said.Add(int64(g.said()))
			calls.Add(int64(g.calls))
			talks.Add(int64(g.talks))
		})
	}
	all.Wait()
	t.Logf("%d messages that tell a number, in %d calls, %d of them answered", said.Load(), calls.Load(), talks.Load())
	if int(said.Load()) < *gossipCases || int(talks.Load()) < *gossipCases/40 {
		t.Errorf("too little was said to prove anything")
	}
	metrics := s.metricsOf(p)
	for _, quiet := range []string{"tandem_leaks_blocked_total 0\n", "tandem_sip_panics_total 0\n"} {
		if !strings.Contains(metrics, "\n"+quiet) {
			t.Errorf("not in the metrics: %s", quiet)
		}
	}
	for _, g := range pairs {
		testkit.AssertNoLeak(t, g.everybody, "the log", []byte(p.out.String()))
	}
}

// gossip is a pair of carriers, one that calls and one that is called.
type gossip struct {
	s         *site
	sip       netip.AddrPort
	rng       *rand.Rand
	virtual   string
	people    [][2]string // who calls, and whom he reaches
	everybody *testkit.LeakDetector
	in, out   *teller
	calls     int
	talks     int
}

func newGossip(s *site, p *process, seed uint64, i int) *gossip {
	s.t.Helper()
	g := &gossip{s: s, sip: p.sip(), rng: rand.New(rand.NewPCG(seed, uint64(i))), virtual: fmt.Sprintf("+91400002%04d", i)}
	g.in, g.out = newTeller(s.t, "127.0.0.4", g.sip, seed, uint64(2*i+100)), newTeller(s.t, "127.0.0.5", g.sip, seed, uint64(2*i+101))
	g.out.course = g.in.course
	_, err := s.api.AddNumbers(s.ctx, "acme", []client.NewNumber{{Number: g.virtual, Sharing: "shared"}})
	s.must(err)
	country := "IN"
	_, err = s.api.CreateTrunk(s.ctx, client.NewTrunk{Name: "out-" + strconv.Itoa(i), TrunkSettings: client.TrunkSettings{Country: &country,
		Targets: []string{g.out.conn.LocalAddr().String()}, CallerIDs: []string{g.virtual}}})
	s.must(err)
	var numbers []string
	for k := range 10 {
		pair := [2]string{fmt.Sprintf("+9199%04d%d%d73", 1000+37*i, k, i), fmt.Sprintf("+9188%d%d%04d26", i, k, 9000-41*i)}
		_, err = s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: g.virtual, From: pair[:1], To: pair[1:]})
		s.must(err)
		g.people = append(g.people, pair)
		numbers = append(numbers, pair[:]...)
	}
	g.everybody = testkit.NewLeakDetector(numbers...)
	return g
}

func (g *gossip) said() int { return int(g.in.told.Load() + g.out.told.Load()) }

// call makes one call and ends it, in one of the ways there are.
func (g *gossip) call() {
	pair := g.people[g.calls%len(g.people)]
	g.calls++
	g.in.course.begin()
	g.in.about(pair[0], pair[1])
	g.out.about(pair[1], pair[0])
	a := &tale{ours: true, callID: g.in.word() + g.in.spelled(), tag: g.in.word() + g.in.spelled(), seq: 1,
		local: "<sip:" + pair[0] + "@carrier>", remote: "<sip:" + g.virtual + "@tandem>", uri: "sip:" + g.virtual + "@" + g.sip.String()}
	g.in.begin(a)
	g.in.ask("INVITE", g.in.sdp())
	invite, status := g.reached()
	if invite == "" {
		g.in.finish(status)
		return
	}
	b := &tale{callID: fieldOf(invite, "Call-ID"), tag: g.out.word() + g.out.spelled(), local: fieldOf(invite, "To"), remote: fieldOf(invite, "From"),
		uri: strings.Trim(fieldOf(invite, "Contact"), "<>"), seq: 1 + g.rng.IntN(1000), invite: invite}
	g.out.begin(b)
	for range g.rng.IntN(3) {
		g.out.reply(invite, one(g.rng, 100, 180, 181, 183, 199), g.out.sdp())
	}
	switch n := g.rng.IntN(100); {
	case n < 15:
		g.out.reply(invite, one(g.rng, 302, 404, 480, 486, 488, 500, 503, 600, 603), "")
		g.in.finish(g.in.final())
	case n < 25 && g.in.waitProvisional():
		g.in.cancel()
		g.in.finish(g.in.final())
	default:
		g.out.reply(invite, 200, g.out.sdp())
		if status = g.in.final(); status != "200" {
			g.in.finish(status)
			return
		}
		g.in.acknowledge()
		g.talks++
		g.talk()
	}
}

// reached waits for the INVITE at the far side, or for the refusal at this one.
func (g *gossip) reached() (invite, refusal string) {
	for {
		select {
		case invite = <-g.out.invites:
			return invite, ""
		case text := <-g.in.answers:
			if status := text[8:11]; status >= "200" {
				return "", status
			}
			g.in.provisional = true
		case <-time.After(20 * time.Second):
			g.s.t.Errorf("an INVITE went nowhere:\n%s", g.in.course)
			return "", "408"
		}
	}
}

// talk is what is said within a call, and its end.
func (g *gossip) talk() {
	for range g.rng.IntN(12) {
		side := one(g.rng, g.in, g.out)
		method := one(g.rng, "INFO", "INFO", "OPTIONS", "UPDATE", "INVITE", "MESSAGE", "REFER", "NOTIFY", "PUBLISH", "SUBSCRIBE", "PRACK")
		body := ""
		if method == "INVITE" || method == "UPDATE" {
			body = side.sdp()
		}
		side.ask(method, body)
		if status := side.final(); method == "INVITE" && status != "" {
			side.finish(status)
			if status[0] == '2' {
				side.acknowledge()
			}
		}
	}
	side, other := g.in, g.out
	if g.rng.IntN(2) == 0 {
		side, other = other, side
	}
	side.ask("BYE", "")
	side.final()
	select {
	case <-other.byes:
	case <-time.After(20 * time.Second):
		g.s.t.Errorf("a BYE did not reach the other side:\n%s", g.in.course)
	}
}

// tale is one dialog as a teller sees it.
type tale struct {
	ours          bool
	callID, tag   string
	local, remote string // addresses of ours and theirs; theirs with its tag once known
	uri           string
	seq           int
	branch        string
	asked         string // the last request
	answer        string // its final response
	invite        string // theirs
}

// course is what has come and gone in the present call of a pair, for who has to find
// out why it went wrong.
type course struct {
	mu    sync.Mutex
	lines []string
}

func (c *course) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = nil
}

func (c *course) note(carrier, way, text string) {
	first, _, _ := strings.Cut(text, "\r\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf("%s %s %s %.12s  CSeq %s  %s", time.Now().Format("05.000"), carrier, way, first, fieldOf(text, "CSeq"), fieldOf(text, "Call-ID")))
}

func (c *course) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// teller is one carrier. What it gets it holds against the number of the other
// side; what it sends tells that of its own.
type teller struct {
	t      *testing.T
	name   string
	conn   *net.UDPConn
	to     *net.UDPAddr
	told   atomic.Int64
	course *course // of the call, also of the other carrier's

	answers chan string
	invites chan string
	byes    chan struct{}

	mu          sync.Mutex // guards what the reader shares
	rng         *rand.Rand
	own         atomic.Pointer[string] // whose number is told
	other       *testkit.LeakDetector
	tale        *tale
	provisional bool
}

func newTeller(t *testing.T, ip string, to netip.AddrPort, seed, stream uint64) *teller {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Fatal(err)
	}
	g := &teller{t: t, name: ip, course: &course{}, conn: conn, to: net.UDPAddrFromAddrPort(to), rng: rand.New(rand.NewPCG(seed, stream)),
		answers: make(chan string, 256), invites: make(chan string, 16), byes: make(chan struct{}, 16)}
	done := make(chan struct{})
	go func() { defer close(done); g.read() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return g
}

// known waits until the server answers.
func (g *teller) known() {
	g.about("+910000000000", "+919999999999")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	g.begin(&tale{ours: true, callID: g.word(), tag: g.word(), local: "<sip:x@carrier>", remote: "<sip:tandem>", uri: "sip:" + g.to.String()})
	for end := time.After(10 * time.Second); ; {
		g.ask("OPTIONS", "")
		select {
		case <-g.answers:
			return
		case <-tick.C:
		case <-end:
			g.t.Fatal("the server does not answer")
		}
	}
}

// about says whose numbers the next call is about.
func (g *teller) about(own, other string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own.Store(&own)
	g.other, g.tale, g.provisional = testkit.NewLeakDetector(other), nil, false
	for len(g.answers) > 0 {
		<-g.answers
	}
	for len(g.invites) > 0 {
		<-g.invites
	}
	for len(g.byes) > 0 {
		<-g.byes
	}
}

func (g *teller) begin(of *tale) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tale = of
}

// put hands over what somebody may wait for. The reader never waits: when a call
// has gone wrong, nobody may.
func put[T any](to chan T, v T) {
	select {
	case to <- v:
	default:
	}
}

// read takes in what the server sends, and answers its requests.
func (g *teller) read() {
	buf := make([]byte, 65536)
	for {
		n, err := g.conn.Read(buf)
		if err != nil {
			return
		}
		text := string(buf[:n])
		g.mu.Lock()
		other := g.other
		own := g.tale
		g.mu.Unlock()
		if other == nil {
			continue
		}
		g.course.note(g.name, "got", text)
		testkit.AssertNoLeak(g.t, other, "what a leg got", buf[:n])
		word, _, _ := strings.Cut(text, " ")
		switch {
		case word == "SIP/2.0":
			if own != nil && fieldOf(text, "Call-ID") == own.callID && !strings.HasSuffix(fieldOf(text, "CSeq"), "CANCEL") {
				put(g.answers, text)
			}
		case word == "INVITE" && tagIn(fieldOf(text, "To")) == "":
			if own == nil || fieldOf(text, "Call-ID") != own.callID {
				put(g.invites, text)
			}
		case word == "ACK":
		case word == "INVITE" || word == "UPDATE":
			g.reply(text, 200, g.sdp())
		case word == "CANCEL":
			g.reply(text, 200, "")
			if own != nil && own.invite != "" {
				g.reply(own.invite, 487, "")
			}
		default:
			g.reply(text, 200, "")
			if word == "BYE" {
				put(g.byes, struct{}{})
			}
		}
	}
}

// final waits for the final response to the last request, and gives its status.
func (g *teller) final() (status string) {
	end := time.After(20 * time.Second)
	for {
		select {
		case text := <-g.answers:
			if status = text[8:11]; status >= "200" && fieldOf(text, "CSeq") == fieldOf(g.tale.asked, "CSeq") {
				g.heed(text)
				return status
			}
			g.provisional = true
		case <-end:
			g.t.Errorf("no answer to %.10q:\n%s", g.tale.asked, g.course)
			return ""
		}
	}
}

func (g *teller) waitProvisional() bool {
	for !g.provisional {
		select {
		case text := <-g.answers:
			g.provisional = text[8:11] < "200"
		case <-time.After(20 * time.Second):
			return false
		}
	}
	return true
}

// heed keeps what a final response says of the dialog.
func (g *teller) heed(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tale.answer = text
	if tagIn(g.tale.remote) == "" {
		g.tale.remote = fieldOf(text, "To")
	}
	if c := strings.Trim(fieldOf(text, "Contact"), "<>"); c != "" && text[8] == '2' {
		g.tale.uri = c
	}
}

// finish acknowledges a refusal.
func (g *teller) finish(status string) {
	if status > "299" {
		g.raw("ACK", g.tale.branch, "")
	}
}

func (g *teller) acknowledge() { g.raw("ACK", "z9hG4bK"+g.word(), "") }

func (g *teller) cancel() { g.raw("CANCEL", g.tale.branch, "") }

// ask sends a request of the dialog.
func (g *teller) ask(method, body string) {
	g.mu.Lock()
	g.tale.seq++
	g.mu.Unlock()
	g.tale.asked = g.raw(method, "z9hG4bK"+g.word(), body)
}

func (g *teller) raw(method, branch, body string) string {
	t := g.tale
	if method == "INVITE" {
		t.branch = branch
	}
	if method == "ACK" && t.answer != "" && t.answer[8] > '2' && t.ours && tagIn(t.remote) == "" {
		t.remote = fieldOf(t.answer, "To")
	}
	local := t.local
	if tagIn(local) == "" {
		local = g.display() + local + ";tag=" + t.tag
	}
	remote := t.remote
	if method == "CANCEL" {
		remote, _, _ = strings.Cut(remote, ";tag=")
	}
	lines := []string{method + " " + t.uri + " SIP/2.0",
		"Via: SIP/2.0/UDP " + g.conn.LocalAddr().String() + ";rport;branch=" + branch,
		"Max-Forwards: 70", "From: " + local, "To: " + remote, "Call-ID: " + t.callID,
		"CSeq: " + strconv.Itoa(t.seq) + " " + method}
	return g.tell(append(lines, g.contact()), body)
}

// reply answers a request of the server.
func (g *teller) reply(request string, status int, body string) {
	to := fieldOf(request, "To")
	g.mu.Lock()
	if tagIn(to) == "" && g.tale != nil {
		to += ";tag=" + g.tale.tag
	}
	g.mu.Unlock()
	g.tell([]string{fmt.Sprintf("SIP/2.0 %d %s", status, g.spelledPlainly()), "Via: " + fieldOf(request, "Via"), "From: " + fieldOf(request, "From"),
		"To: " + to, "Call-ID: " + fieldOf(request, "Call-ID"), "CSeq: " + fieldOf(request, "CSeq"), g.contact()}, body)
}

// tell adds what nobody has asked for and sends it.
func (g *teller) tell(lines []string, body string) string {
	for range 1 + g.draw(5) {
		lines = append(lines, g.field())
	}
	if body == "" && g.draw(3) == 0 {
		lines = append(lines, "Content-Type: "+pick(g, "text/plain", "application/isup;version=itu-t92+", "message/sipfrag", "application/vq-rtcpxr",
			"application/dtmf-relay", "multipart/mixed;boundary=b"))
		body = pick(g, "", "--b\r\n\r\n", "Signal=") + g.spelled() + "\r\n"
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
		return g.send(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
	}
	return g.send(compose(lines, body))
}

func (g *teller) send(text string) string {
	g.told.Add(1)
	g.course.note(g.name, "said", text)
	if _, err := g.conn.WriteToUDP([]byte(text), g.to); err != nil {
		g.t.Errorf("not sent: %v", err)
	}
	return text
}

func (g *teller) draw(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rng.IntN(n)
}

func (g *teller) word() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strconv.FormatUint(g.rng.Uint64(), 36)
}

func pick[T any](g *teller, list ...T) T { return list[g.draw(len(list))] }

// spelled is the number of the teller's party in one of its spellings, fit for any
// place of a message that takes a word.
func (g *teller) spelled() string {
	n := g.number()
	digits := n[1:]
	switch g.draw(9) {
	case 0:
		return n
	case 1:
		return "0" + digits[2:]
	case 2:
		return "00" + digits
	case 3:
		return everyDigit(digits, "%%%02x")
	case 4:
		return strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(g.word()[:1+g.draw(3)]+n)), "=")
	case 5:
		return hex.EncodeToString([]byte(n))
	case 6:
		return digits[:2] + "-" + digits[2:5] + "." + digits[5:]
	case 7:
		return everyDigit(digits[2:], "%c"+pick(g, ".", "-", "_", "*"))
	}
	return digits[2:]
}

func everyDigit(digits, format string) string {
	var b strings.Builder
	for _, d := range digits {
		fmt.Fprintf(&b, format, d)
	}
	return b.String()
}

func (g *teller) number() string { return *g.own.Load() }

func (g *teller) spelledPlainly() string { return "Told by " + g.number() }

func (g *teller) display() string {
	return pick(g, "", `"`+g.number()+`" `, `"Call of `+g.number()[3:]+`" `)
}

func (g *teller) contact() string {
	return "Contact: " + g.display() + "<sip:" + pick(g, "x", g.number(), g.number()[1:]) + "@" + g.conn.LocalAddr().String() + pick(g, "", ";x="+g.number()[1:]) + ">" +
		pick(g, "", ";+sip.instance=\"<urn:uuid:"+g.number()[1:]+">\"", ";q=0.5")
}

// field is one header field that tells the number.
func (g *teller) field() string {
	name := pick(g, "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "History-Info", "Referred-By", "Refer-To", "Reply-To",
		"P-Called-Party-ID", "Identity", "Call-Info", "Alert-Info", "Error-Info", "Subject", "s", "Organization", "User-Agent", "Server", "Warning", "Reason",
		"Geolocation", "P-Access-Network-Info", "P-Charging-Vector", "User-to-User", "Session-ID", "In-Reply-To", "Accept-Contact", "Supported", "Allow",
		"Allow-Events", "Event", "Accept-Language", "Content-Disposition", "Content-Language", "MIME-Version", "Date", "Join", "Path", "Service-Route",
		"P-Answer-State", "Authentication-Info", "Authorization", "Proxy-Authorization", "Security-Client", "Priority", "Privacy", "Resource-Priority",
		"X-"+g.word(), "X-Caller", g.word())
	value := pick(g, "%s", "<sip:%s@carrier>", "<tel:%s>", `"%s" <sip:x@carrier>`, "<sip:x@carrier;user=%s>;reason=%[1]s", "a;b=%s", `399 carrier "%s"`,
		"Q.850;cause=16;text=\"%s\"", "<https://carrier/%s>;purpose=info", "x, %s", "%s\r\n more", "=?utf-8?q?%s?=")
	return name + ": " + fmt.Sprintf(value, g.spelled())
}

// sdp is a description that can be carried and tells the number.
func (g *teller) sdp() string {
	ip := g.conn.LocalAddr().(*net.UDPAddr).IP.String()
	lines := []string{"v=0", "o=" + pick(g, "-", g.number()[1:]) + " 1 " + strconv.Itoa(1+g.draw(1000)) + " IN IP4 " + ip, "s=" + pick(g, "-", g.number())}
	for range g.draw(3) {
		lines = append(lines, pick(g, "i=Call of ", "u=https://carrier/", "e=x@carrier ", "p=")+g.spelled())
	}
	lines = append(lines, "c=IN IP4 "+ip, "t=0 0", "m=audio "+strconv.Itoa(40000+2*g.draw(5000))+" RTP/AVP 8 0 101", "a=rtpmap:101 telephone-event/8000")
	for range g.draw(4) {
		lines = append(lines, pick(g, "a=tool:", "a=cname:", "a=label:", "a=ssrc:1 cname:", "a=ice-ufrag:", "a=x-caller:", "a=mid:", "a=fmtp:101 0-15;x=")+g.spelled())
	}
	return strings.Join(append(lines, "a="+pick(g, "sendrecv", "sendrecv", "sendonly", "inactive")), "\r\n") + "\r\n"
}
