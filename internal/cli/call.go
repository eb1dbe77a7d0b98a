package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/voice/phone"
)

const (
	goodbye    = 5 * time.Second // for a hang-up to be answered
	beepHz     = 440
	beepVolume = 8000        // of 32767: -12 dBFS
	untilAsked = time.Second // from the answer to the first digit of a PIN: its prompt can be interrupted
	longestPIN = 32
)

// A callRequest is what the command line says about a call.
type callRequest struct {
	from, to, via, transport string
	say, save                string
	pin, pinBy               string
	seconds, ring            int
	showNumbers              bool
}

func (p *program) callCommand() *cobra.Command {
	var r callRequest
	cmd := &cobra.Command{
		Use: "call", Short: "Place a test call: SIP and RTP from this machine", Args: exactly(), GroupID: groupRun,
		Long: "Place a call with a real SIP and RTP phone and print what happened. The exit code is 0 only if the\n" +
			"call was answered. The server answers sources that belong to a trunk, and nobody else.\n" +
			"With --pin the phone presses a PIN and # soon after the answer, and speaks only then; no output shows it.",
		Example: "  tandem call --from +919900000001 --to +914000000001 --via 127.0.0.1:5060 --save heard.wav\n" +
			"  tandem call --from +919900000001 --to +914000000001 --via 127.0.0.1:5060 --pin 1234 --pin-by info",
	}
	flags := cmd.Flags()
	flags.StringVar(&r.from, "from", "", "caller's number")
	flags.StringVar(&r.to, "to", "", "number to call")
	flags.StringVar(&r.via, "via", "", "HOST:PORT that the INVITE is sent to")
	flags.StringVar(&r.transport, "transport", "udp", "udp or tcp")
	flags.StringVar(&r.say, "say", "", "WAV file to say, 16-bit PCM; without one a tone")
	flags.StringVar(&r.save, "save", "", "WAV file for what is heard")
	flags.StringVar(&r.pin, "pin", "", "PIN to press once answered, # follows")
	flags.StringVar(&r.pinBy, "pin-by", "rfc4733", "how digits are sent: rfc4733, info or inband")
	flags.IntVar(&r.seconds, "seconds", 5, "how long to talk; with --say and without this, until all is said")
	flags.IntVar(&r.ring, "ring", 60, "how many seconds to wait for an answer")
	flags.BoolVar(&r.showNumbers, "show-numbers", false, "print numbers in full")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := r.check(); err != nil {
			return misuse(cmd, err)
		}
		untilSaid := r.say != "" && !flags.Changed("seconds")
		return p.call(cmd.Context(), r, untilSaid)
	}
	cmd.AddCommand(p.callShow())
	return cmd
}

// check refuses what cannot be called.
func (r callRequest) check() error {
	for _, required := range []struct{ flag, value string }{{"from", r.from}, {"to", r.to}, {"via", r.via}} {
		if required.value == "" {
			return fmt.Errorf("--%s is missing", required.flag)
		}
	}
	for _, user := range []struct{ flag, value string }{{"from", r.from}, {"to", r.to}} {
		if strings.ContainsFunc(user.value, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`<>"\`, c) }) {
			return fmt.Errorf("--%s: wants a number, as +919900000001", user.flag)
		}
	}
	if _, _, err := net.SplitHostPort(r.via); err != nil {
		return fmt.Errorf("--via %q: wants HOST:PORT", r.via)
	}
	if r.transport != "udp" && r.transport != "tcp" {
		return fmt.Errorf("--transport %q: wants udp or tcp", r.transport)
	}
	if _, ok := ways()[r.pinBy]; !ok {
		return fmt.Errorf("--pin-by %q: wants rfc4733, info or inband", r.pinBy)
	}
	if len(r.pin) > longestPIN || strings.Trim(r.pin, "0123456789") != "" { // what it was is not repeated
		return fmt.Errorf("--pin: wants up to %d digits", longestPIN)
	}
	if r.seconds < 1 || r.seconds > 3600 || r.ring < 1 || r.ring > 3600 {
		return errors.New("--seconds and --ring: 1 to 3600")
	}
	return nil
}

// call places one call and tells about it.
func (p *program) call(ctx context.Context, r callRequest, untilSaid bool) (err error) {
	audio, err := r.audio()
	if err != nil {
		return err
	}
	via, local, err := route(ctx, r.via)
	if err != nil {
		return err
	}
	handset, err := phone.New(phone.Options{Network: r.transport, IP: local, NoEvents: r.inband()})
	if err != nil {
		return fmt.Errorf("cannot call: %w", err)
	}
	defer func() { err = errors.Join(err, handset.Close()) }()

	say := teller{w: p.Out}
	say.line("%s calls %s over %s %s", r.shown(r.from), r.shown(r.to), r.transport, via)
	invite := phone.Invite{From: r.from, To: r.to, Via: via}
	if r.pin == "" {
		invite.Audio = audio
	}
	call, err := handset.Dial(ctx, invite)
	if err != nil { // a connection can be refused before the call is under way, or after
		return fmt.Errorf("not answered: %s", r.why(ctx, err, false))
	}
	c := converse(ctx, call, r, speech{audio, untilSaid})
	if say.err == nil {
		say.err = phone.WriteLadder(p.Out, call.Ladder(), r.showNumbers)
	}
	if !c.answered {
		return errors.Join(fmt.Errorf("not answered: %s", c.refusal), say.err)
	}
	say.line("answered; talked for %.1f s; %s", c.talked.Seconds(), c.ending)
	heard := call.Heard()
	h := call.Hearing()
	say.line("heard %.1f s, level %s; %d packets, %d lost, %d from strangers",
		float64(len(heard))/phone.Rate, level(heard), h.Packets, h.Lost, h.Strays)
	return errors.Join(say.err, r.keep(heard), c.pin)
}

// A conversation is what became of a call.
type conversation struct {
	answered bool
	refusal  string // why it was not
	talked   time.Duration
	ending   string // who hung up
	pin      error  // why it was not pressed
}

// A speech is what is said, and whether the call lasts until it is.
type speech struct {
	audio phone.Source
	whole bool
}

// converse waits for the answer, talks and hangs up.
func converse(ctx context.Context, call *phone.Call, r callRequest, s speech) conversation {
	ringing, stop := context.WithTimeout(ctx, time.Duration(r.ring)*time.Second)
	err := call.Answered(ringing)
	stop()
	if err != nil {
		_ = hangUp(ctx, call) // no answer to a CANCEL changes nothing here
		came := slices.ContainsFunc(call.Ladder(), func(s phone.Step) bool { return !s.Out })
		return conversation{refusal: r.why(ctx, err, came)}
	}
	start := time.Now()
	c := conversation{answered: true, ending: "the other side hung up"}
	if r.pin != "" {
		c.pin = enter(ctx, call, r)
		call.Say(s.audio)
	}
	if c.pin == nil {
		talk(ctx, call, r, s.whole)
	}
	c.talked = time.Since(start)
	if err := hangUp(ctx, call); err != nil {
		c.ending = "this side hung up, and the other did not answer that"
	} else if end, _ := call.Ended(ctx); end.ByUs { // it is over: Ended does not wait
		c.ending = "this side hung up"
	}
	return c
}

// enter presses the PIN once the far side has had time to ask for it.
func enter(ctx context.Context, call *phone.Call, r callRequest) error {
	asked := time.NewTimer(untilAsked)
	defer asked.Stop()
	select {
	case <-asked.C:
	case <-call.Done():
	case <-ctx.Done():
	}
	err := call.Press(ctx, r.pin+"#", phone.Press{How: ways()[r.pinBy]})
	var status *phone.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return fmt.Errorf("the PIN was not taken: SIP status %d to an INFO", status.Code) // its phrase may repeat the digit
	case errors.Is(err, phone.ErrNoEvents):
		return errors.New("the PIN was not pressed: the other side takes no telephone-event; try --pin-by info or inband")
	}
	select {
	case <-call.Done():
		return errors.New("the PIN was not pressed to its end: the other side hung up")
	default:
		return fmt.Errorf("the PIN was not pressed to its end: %w", err)
	}
}

// ways are the ways to send digits, as --pin-by names them.
func ways() map[string]phone.Way {
	return map[string]phone.Way{"rfc4733": phone.RFC4733, "info": phone.INFO, "inband": phone.Inband}
}

// inband reports whether the PIN is sent as tones. telephone-event is not offered then:
// who is offered that need not listen for tones.
func (r callRequest) inband() bool { return r.pin != "" && ways()[r.pinBy] == phone.Inband }

// hangUp ends a call, also when the command is interrupted.
func hangUp(ctx context.Context, call *phone.Call) error {
	leaving, done := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer done()
	return call.Hangup(leaving)
}

// talk returns when it is time to hang up.
func talk(ctx context.Context, call *phone.Call, r callRequest, untilSaid bool) {
	if untilSaid {
		_ = call.Said(ctx) // interrupted or hung up: time to go as well
		return
	}
	timer := time.NewTimer(time.Duration(r.seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-call.Done():
	case <-ctx.Done():
	}
}

// why says what became of a call that nobody answered; came tells that there was a
// response at all.
func (r callRequest) why(ctx context.Context, err error, came bool) string {
	nothing := fmt.Sprintf("nothing came back from %s: is it listening, and is this machine a source of one of its trunks?", r.via)
	var status *phone.StatusError
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("SIP status %d %s", status.Code, r.shown(plain(status.Reason)))
	case ctx.Err() != nil:
		return "interrupted"
	case errors.Is(err, context.DeadlineExceeded) && !came:
		return nothing
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("it rang for %d s", r.ring)
	}
	return fmt.Sprintf("%v; %s", err, nothing)
}

// shown hides numbers unless they were asked for.
func (r callRequest) shown(text string) string {
	if r.showNumbers {
		return text
	}
	return phone.Hide(text)
}

// audio is what the caller says.
func (r callRequest) audio() (phone.Source, error) {
	if r.say == "" {
		return phone.Sine(beepHz, beepVolume), nil
	}
	f, err := os.Open(r.say)
	if err != nil {
		return nil, err
	}
	pcm, err := phone.ReadWAV(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", r.say, err)
	}
	return phone.Samples(pcm), nil
}

// keep saves what was heard, for its owner alone: it is a conversation.
func (r callRequest) keep(pcm []int16) error {
	if r.save == "" {
		return nil
	}
	f, err := os.OpenFile(r.save, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(phone.WriteWAV(f, pcm), f.Close())
}

// route finds the address behind HOST:PORT and ours on the way to it.
func route(ctx context.Context, hostPort string) (via netip.AddrPort, local netip.Addr, err error) {
	// Connecting a UDP socket sends nothing; it asks the system for the way.
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", hostPort)
	if err != nil {
		return via, local, fmt.Errorf("--via: %w", err)
	}
	far, near := conn.RemoteAddr().(*net.UDPAddr).AddrPort(), conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(far.Addr().Unmap(), far.Port()), near.Addr().Unmap(), conn.Close()
}

// level is the loudness of pcm in dB below full scale.
func level(pcm []int16) string {
	var energy float64
	for _, s := range pcm {
		energy += float64(s) * float64(s)
	}
	if energy == 0 {
		return "silence"
	}
	return fmt.Sprintf("%.1f dBFS", 20*math.Log10(math.Sqrt(energy/float64(len(pcm)))/math.MaxInt16))
}

// A teller writes lines and keeps the first failure.
type teller struct {
	w   io.Writer
	err error
}

func (t *teller) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}
