package ladder

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/e164"
)

// The lists are written to disk by their places: entries are added at the end and
// never moved. Place 0 is what stands for everything that is not in the list.

var (
	transports = [...]string{"other", "udp", "tcp", "tls"}
	methods    = [...]string{"OTHER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "PRACK", "INFO", "REFER", "MESSAGE",
		"NOTIFY", "SUBSCRIBE", "PUBLISH", "REGISTER"}
	codecs = [...]string{"other", "PCMU", "PCMA", "G722", "G729", "GSM", "opus", "AMR", "AMR-WB", "telephone-event", "CN", "iLBC",
		"speex", "G723", "G726-32", "EVS", "L16"}
)

// codeOf is the place of a word in a list; case does not matter, as in SDP (RFC 4855 §3).
func codeOf(list []string, word []byte) byte {
	for i, w := range list {
		if len(w) == len(word) && strings.EqualFold(w, string(word)) {
			return byte(i)
		}
	}
	return 0
}

func wordOf(list []string, code byte) string {
	if int(code) < len(list) {
		return list[code]
	}
	return list[0]
}

// CodecOf is the code of a codec's name.
func CodecOf(name []byte) byte { return codeOf(codecs[:], name) }

// MethodOf is a method that is known, or "OTHER".
func MethodOf(name []byte) string { return methods[codeOf(methods[:], name)] }

// Methods are all that MethodOf gives.
func Methods() []string { return slices.Clone(methods[:]) }

// MethodCode is the place of a method that MethodOf gave.
func MethodCode(method string) byte { return byte(max(0, slices.Index(methods[:], method))) }

// A Key names a field of a message's header that a ladder keeps.
type Key byte

// The keys.
const (
	ReasonSIP      Key = iota + 1 // Reason: SIP;cause= (RFC 3326)
	ReasonQ850                    // Reason: Q.850;cause=
	RetryAfter                    // seconds
	RSeq                          // RFC 3262 §7.1
	RAck                          // its RSeq
	SessionExpires                // seconds (RFC 4028 §4)
	Refresher                     // 1 = uac, 2 = uas
	MinSE                         // seconds
	Require                       // bits: see extensions
	MaxForwards                   // of an INVITE
	Challenged                    // 1 = WWW-Authenticate, 2 = Proxy-Authenticate
	Credentials                   // the same for what answers it
	Warning                       // its code
	OtherBody                     // a body that is no session description
)

// The bits of Require; everything else is RequireOther.
const (
	Require100rel = 1 << iota
	RequireTimer
	RequireReplaces
	RequireOther
)

// String writes the field as its header does.
func (f Field) String() string {
	switch f.Key {
	case ReasonSIP:
		return fmt.Sprintf("Reason: SIP;cause=%d", f.Value)
	case ReasonQ850:
		return fmt.Sprintf("Reason: Q.850;cause=%d", f.Value)
	case Refresher:
		return "refresher=" + wordOf([]string{"?", "uac", "uas"}, byte(f.Value))
	case Require:
		return "Require: " + requireText(f.Value)
	case Challenged:
		return wordOf([]string{"?", "WWW-Authenticate", "Proxy-Authenticate"}, byte(f.Value))
	case Credentials:
		return wordOf([]string{"?", "Authorization", "Proxy-Authorization"}, byte(f.Value))
	case OtherBody:
		return "another body"
	}
	name := map[Key]string{RetryAfter: "Retry-After", RSeq: "RSeq", RAck: "RAck", SessionExpires: "Session-Expires",
		MinSE: "Min-SE", MaxForwards: "Max-Forwards", Warning: "Warning"}[f.Key]
	if name == "" {
		name = "field " + strconv.Itoa(int(f.Key))
	}
	return fmt.Sprintf("%s: %d", name, f.Value)
}

func requireText(bits uint64) string {
	var tags []string
	for _, t := range [...]struct {
		bit  uint64
		name string
	}{{Require100rel, "100rel"}, {RequireTimer, "timer"}, {RequireReplaces, "replaces"}, {RequireOther, "another"}} {
		if bits&t.bit != 0 {
			tags = append(tags, t.name)
		}
	}
	return strings.Join(tags, ", ")
}

// String writes what a description said, shortly: "PCMA telephone-event sendonly".
func (m Media) String() string {
	if m.Refused {
		return "no audio"
	}
	var words []string
	for _, c := range m.Codecs {
		words = append(words, wordOf(codecs[:], c))
	}
	if m.Secure {
		words = append(words, "SRTP")
	}
	return strings.Join(append(words, wordOf([]string{"sendrecv", "sendonly", "recvonly", "inactive"}, byte(m.Direction))), " ")
}

// Title is the start line in short: the method, or status and phrase. The phrase is
// the one of the RFC, whatever the peer wrote.
func (m Message) Title() string {
	if m.Status == 0 {
		return m.Method
	}
	if phrase := Phrase(m.Status); phrase != "" {
		return strconv.Itoa(m.Status) + " " + phrase
	}
	return strconv.Itoa(m.Status)
}

func legName(place int) string {
	if place == 0 {
		return "a"
	}
	return "b" + strconv.Itoa(place)
}

// Hide shows of a number, as the user part of a SIP URI has it, how it is written and
// never which it is: a plus and the country code, or the zeros it begins with, and its
// last two digits. What is no number of seven digits or more is "": a name is somebody's too.
func Hide(user string) string {
	user, _, _ = strings.Cut(user, ";") // parameters, as of a tel URI
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) { // visual separators (RFC 3966 §3)
			return -1
		}
		return r
	}, user)
	if strings.HasPrefix(digits, "+") {
		n, _ := e164.Parse(digits) // no number is hidden as ""
		return n.Hidden()
	}
	if len(digits) < 7 || len(digits) > 20 || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	national := strings.TrimLeft(digits, "0")
	return digits[:min(len(digits)-len(national), 2)] + "…" + digits[len(digits)-2:]
}
