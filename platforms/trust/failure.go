package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"

	"imageport/platforms"
)

// KindOf sorts the errors of connections, of which nothing else is known than
// that no answer came. An error of another sort is Internal.
func KindOf(err error) platforms.Kind {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return platforms.NotFound // a name that nobody has is not going to be there in a minute
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return platforms.BadRequest // no TLS on that port
	}
	if errors.Is(err, ErrUntrusted) || isCertificateError(err) {
		return platforms.Denied
	}
	_, ofURL := errors.AsType[*url.Error](err)
	_, ofNet := errors.AsType[net.Error](err)
	if ofURL || ofNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return platforms.Busy
	}
	return platforms.Internal
}

func isCertificateError(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return verification || authority || name || invalid
}
