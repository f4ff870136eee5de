#pragma once

#include <cstdint>
#include <string_view>

namespace carillon {

// Codes of the Centrifuge protocol as data (protocol.md section 11). Reasons fit a close frame (<= 123
// bytes).

/// Goes into the `error` of a reply.
struct ErrorCode {
  std::uint32_t code;
  std::string_view message;
  bool is_temporary = false;  ///< clients try again with backoff
};

inline constexpr ErrorCode kErrorInternal{100, "internal server error", true};
inline constexpr ErrorCode kErrorUnknownChannel{102, "unknown channel"};
inline constexpr ErrorCode kErrorPermissionDenied{103, "permission denied"};
inline constexpr ErrorCode kErrorMethodNotFound{104, "method not found"};
inline constexpr ErrorCode kErrorAlreadySubscribed{105, "already subscribed"};
inline constexpr ErrorCode kErrorLimitExceeded{106, "limit exceeded"};
inline constexpr ErrorCode kErrorBadRequest{107, "bad request"};
inline constexpr ErrorCode kErrorTooDeep{107, "bad request: JSON nested deeper than 64 arrays and objects"};
inline constexpr ErrorCode kErrorNotJson{107, "bad request: data: is not JSON text"};
inline constexpr ErrorCode kErrorNotAvailable{108, "not available"};
inline constexpr ErrorCode kErrorTokenExpired{109, "token expired"};
inline constexpr ErrorCode kErrorExpired{110, "expired"};
inline constexpr ErrorCode kErrorTooManyRequests{111, "too many requests", true};
inline constexpr ErrorCode kErrorUnrecoverablePosition{112, "unrecoverable position"};
/// Ours, of the HTTP API alone.
inline constexpr ErrorCode kErrorConflict{113, "conflict"};

/// Goes into a close frame (code, reason) or a disconnect push.
struct DisconnectCode {
  std::uint16_t code;
  std::string_view reason;  ///< never empty: SDKs read an empty one as "reconnect" whatever the code
};

inline constexpr DisconnectCode kDisconnectShutdown{3001, "shutdown"};
inline constexpr DisconnectCode kDisconnectServerError{3004, "internal server error"};
inline constexpr DisconnectCode kDisconnectConnectionExpired{3005, "connection expired"};
inline constexpr DisconnectCode kDisconnectSubscriptionExpired{3006, "subscription expired"};
inline constexpr DisconnectCode kDisconnectSlow{3008, "slow"};
inline constexpr DisconnectCode kDisconnectInsufficientState{3010, "insufficient state"};
inline constexpr DisconnectCode kDisconnectNoPong{3012, "no pong"};
inline constexpr DisconnectCode kDisconnectTooManyRequests{3013, "too many requests"};
inline constexpr DisconnectCode kDisconnectInvalidToken{3500, "invalid token"};
inline constexpr DisconnectCode kDisconnectBadRequest{3501, "bad request"};
inline constexpr DisconnectCode kDisconnectStale{3502, "stale"};
inline constexpr DisconnectCode kDisconnectConnectionLimit{3504, "connection limit"};
inline constexpr DisconnectCode kDisconnectChannelLimit{3505, "channel limit"};
inline constexpr DisconnectCode kDisconnectPermissionDenied{3507, "permission denied"};
inline constexpr DisconnectCode kDisconnectNotAvailable{3508, "not available"};

/// How a unidirectional client learns that its connect is refused with this error: it gets no replies
/// (protocol.md section 17). Where the code says less than the error, the reason is the error's.
[[nodiscard]] constexpr DisconnectCode disconnect_for(const ErrorCode& error) {
  switch (error.code) {
    case kErrorTokenExpired.code:
    case kErrorExpired.code:
      return kDisconnectConnectionExpired;
    case kErrorTooManyRequests.code:
      return kDisconnectTooManyRequests;
    case kErrorPermissionDenied.code:
      return kDisconnectPermissionDenied;
    default:
      return {kDisconnectServerError.code,
              error.message.empty() ? kDisconnectServerError.reason : error.message};
  }
}

/// Goes into an unsubscribe push; from 2500 on the client subscribes again, with recovery.
struct UnsubscribeCode {
  std::uint32_t code;
  std::string_view reason;
};

inline constexpr UnsubscribeCode kUnsubscribeByServer{2000, "server unsubscribe"};
inline constexpr UnsubscribeCode kUnsubscribeInsufficientState{2500, "insufficient state"};
inline constexpr UnsubscribeCode kUnsubscribeExpired{2501, "subscription expired"};

}  // namespace carillon
