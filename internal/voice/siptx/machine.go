package siptx

// The four state machines as pure functions: state and event in, state and what
// to do out. They are figures 5 to 8 of RFC 3261 §17 with the Accepted states of
// RFC 6026 §7. Timers have two names here, since the state says which of the RFC's
// letters is meant: the repeat timer is A, E or G, the end timer any other.

type state uint8

const (
	stateCalling state = iota
	stateTrying
	stateProceeding
	stateCompleted
	stateConfirmed
	stateAccepted
	stateTerminated
)

func (s state) String() string {
	return [...]string{"Calling", "Trying", "Proceeding", "Completed", "Confirmed", "Accepted", "Terminated"}[s]
}

type event uint8

const (
	// A response: from the network to a client, from the TU to a server.
	eventProvisional event = iota // 1xx
	eventSuccess                  // 2xx
	eventFailure                  // 300-699

	eventRequest // server: the request once more
	eventAck     // server

	eventRepeat    // timer A, E, G
	eventEnd       // timer B, D, F, H, I, J, K, L, M
	eventTransport // the network did not take a message, or its connection is lost
)

func (e event) String() string {
	return [...]string{"1xx", "2xx", "300-699", "request", "ACK", "repeat timer", "end timer", "transport error"}[e]
}

// An effect is a set of things to do.
type effect uint16

const (
	// doPass hands the message to the TU.
	doPass effect = 1 << iota
	// doSend transmits the response the TU gave, and keeps it for doSendAgain.
	doSend
	// doSendAgain retransmits the request or the last response.
	doSendAgain
	// doAck sends the ACK for a 3xx-6xx, or sends it again.
	doAck
	// doRepeat starts the repeat timer with T1 (G).
	doRepeat
	// doQuiet stops the repeat timer, and the end timer unless doLinger follows.
	doQuiet
	// doLinger starts the end timer of the new state (D, H, I, J, K, L, M). Where
	// that is zero, the transaction ends at once.
	doLinger
	// doTimeout and doFail tell the TU how it ended.
	doTimeout
	doFail
	// doTrying sends a 100 if the TU has said nothing yet.
	doTrying
	// doRefuse tells the TU that its response comes too late.
	doRefuse
	// doStray hands a 2xx to the TU as one that belongs to no transaction.
	doStray
)

type machine func(state, event) (state, effect)

// inviteClient is figure 5 with RFC 6026 §7.2 (Timers A, B, D, M).
func inviteClient(s state, e event) (state, effect) {
	switch s {
	case stateCalling, stateProceeding:
		switch e {
		case eventProvisional:
			if s == stateProceeding { // nothing to stop, and a CANCEL's end timer to keep
				return stateProceeding, doPass
			}
			return stateProceeding, doPass | doQuiet
		case eventSuccess:
			return stateAccepted, doPass | doQuiet | doLinger
		case eventFailure:
			return stateCompleted, doPass | doAck | doQuiet | doLinger
		case eventRepeat:
			if s == stateCalling {
				return stateCalling, doSendAgain
			}
		case eventEnd: // B; in Proceeding only after a CANCEL (§9.1)
			return stateTerminated, doTimeout
		case eventTransport:
			return stateTerminated, doFail
		}
	case stateCompleted:
		switch e {
		case eventFailure:
			return stateCompleted, doAck
		case eventSuccess:
			return stateCompleted, doStray
		case eventEnd, eventTransport: // D; the TU has had its answer
			return stateTerminated, 0
		}
	case stateAccepted:
		switch e {
		case eventSuccess:
			return stateAccepted, doPass
		case eventEnd: // M
			return stateTerminated, 0
		}
	}
	return s, 0
}

// otherClient is figure 6 (Timers E, F, K).
func otherClient(s state, e event) (state, effect) {
	switch s {
	case stateTrying, stateProceeding:
		switch e {
		case eventProvisional:
			return stateProceeding, doPass
		case eventSuccess, eventFailure:
			return stateCompleted, doPass | doQuiet | doLinger
		case eventRepeat:
			return s, doSendAgain
		case eventEnd: // F
			return stateTerminated, doTimeout
		case eventTransport:
			return stateTerminated, doFail
		}
	case stateCompleted:
		if e == eventEnd { // K
			return stateTerminated, 0
		}
	}
	return s, 0
}

// inviteServer is figure 7 with RFC 6026 §7.1 (Timers G, H, I, L).
func inviteServer(s state, e event) (state, effect) {
	switch s {
	case stateProceeding:
		switch e {
		case eventRequest:
			return stateProceeding, doSendAgain
		case eventProvisional:
			return stateProceeding, doSend
		case eventRepeat: // 200 ms have passed
			return stateProceeding, doTrying
		case eventSuccess:
			return stateAccepted, doSend | doQuiet | doLinger
		case eventFailure:
			return stateCompleted, doSend | doQuiet | doRepeat | doLinger
		case eventTransport:
			return stateTerminated, doFail
		}
	case stateCompleted:
		switch e {
		case eventRequest, eventRepeat:
			return stateCompleted, doSendAgain
		case eventAck:
			return stateConfirmed, doQuiet | doLinger
		case eventEnd: // H
			return stateTerminated, doTimeout
		case eventTransport:
			return stateTerminated, doFail
		}
	case stateConfirmed:
		if e == eventEnd { // I
			return stateTerminated, 0
		}
	case stateAccepted:
		switch e {
		case eventSuccess:
			return stateAccepted, doSend
		case eventAck:
			return stateAccepted, doPass
		case eventEnd: // L
			return stateTerminated, 0
		}
	}
	return s, refuseLate(e)
}

// otherServer is figure 8 (Timer J). A TU that never answers does not keep the
// transaction for ever: after 64*T1 the client has given up (Timer F), and so
// does the end timer of Trying and Proceeding.
func otherServer(s state, e event) (state, effect) {
	switch s {
	case stateTrying, stateProceeding:
		switch e {
		case eventRequest:
			if s == stateProceeding {
				return s, doSendAgain
			}
			return s, 0
		case eventProvisional:
			return stateProceeding, doSend
		case eventSuccess, eventFailure:
			return stateCompleted, doSend | doQuiet | doLinger
		case eventEnd:
			return stateTerminated, doTimeout
		case eventTransport:
			return stateTerminated, doFail
		}
	case stateCompleted:
		switch e {
		case eventRequest:
			return stateCompleted, doSendAgain
		case eventEnd: // J
			return stateTerminated, 0
		case eventTransport:
			return stateTerminated, doFail
		}
	}
	return s, refuseLate(e)
}

// refuseLate: a server transaction that has no use for a response says so.
func refuseLate(e event) effect {
	switch e {
	case eventProvisional, eventSuccess, eventFailure:
		return doRefuse
	}
	return 0
}

// responseEvent says what a status code is to a machine.
func responseEvent(code int) event {
	switch {
	case code < 200:
		return eventProvisional
	case code < 300:
		return eventSuccess
	}
	return eventFailure
}
