#include "token/key_set.hpp"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "protocol/base64.hpp"

namespace carillon {

namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Pkey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using PkeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Bignum = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;
using EcdsaSignature = std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>>;

constexpr int kRsaBitsMin = 2'048;
constexpr std::size_t kTriedMax = 8;

enum class KeyKind : std::uint8_t { secret, rsa, p256, p384, p521, ed25519 };

KeyKind kind_for(JwtAlgorithm algorithm) {
  switch (algorithm) {
    case JwtAlgorithm::hs256:
    case JwtAlgorithm::hs384:
    case JwtAlgorithm::hs512:
      return KeyKind::secret;
    case JwtAlgorithm::rs256:
    case JwtAlgorithm::rs384:
    case JwtAlgorithm::rs512:
      return KeyKind::rsa;
    case JwtAlgorithm::es256:
      return KeyKind::p256;
    case JwtAlgorithm::es384:
      return KeyKind::p384;
    case JwtAlgorithm::es512:
      return KeyKind::p521;
    case JwtAlgorithm::eddsa:
      break;
  }
  return KeyKind::ed25519;
}

const EVP_MD* digest_of(JwtAlgorithm algorithm) {
  switch (algorithm) {
    case JwtAlgorithm::hs256:
    case JwtAlgorithm::rs256:
    case JwtAlgorithm::es256:
      return EVP_sha256();
    case JwtAlgorithm::hs384:
    case JwtAlgorithm::rs384:
    case JwtAlgorithm::es384:
      return EVP_sha384();
    case JwtAlgorithm::hs512:
    case JwtAlgorithm::rs512:
    case JwtAlgorithm::es512:
      return EVP_sha512();
    case JwtAlgorithm::eddsa:
      break;
  }
  return nullptr;  // part of the algorithm
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// What a public key can verify. Throws KeyError.
KeyKind kind_of(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
      if (EVP_PKEY_get_bits(key) < kRsaBitsMin)
        throw KeyError("an RSA key of fewer than 2048 bits is too weak; make a longer one");
      return KeyKind::rsa;
    case EVP_PKEY_EC:
      switch (EVP_PKEY_get_bits(key)) {
        case 256:
          return KeyKind::p256;
        case 384:
          return KeyKind::p384;
        case 521:
          return KeyKind::p521;
        default:
          throw KeyError("the curve of the key is not one of P-256, P-384 and P-521");
      }
    case EVP_PKEY_ED25519:
      return KeyKind::ed25519;
    default:
      throw KeyError("the key is of a kind that signs no tokens; give RSA, an elliptic curve or Ed25519");
  }
}

/// The two numbers of a signature by an elliptic curve stand one after another in a token (RFC 7518 section
/// 3.4); OpenSSL takes them as DER. Empty: they have not the length of the curve.
std::string der_of(std::string_view signature, KeyKind kind) {
  const std::size_t half = kind == KeyKind::p256 ? 32 : kind == KeyKind::p384 ? 48 : 66;
  if (signature.size() != 2 * half) return {};
  const EcdsaSignature both(ECDSA_SIG_new());
  Bignum r(BN_bin2bn(bytes_of(signature), static_cast<int>(half), nullptr));
  Bignum s(BN_bin2bn(bytes_of(signature) + half, static_cast<int>(half), nullptr));
  if (!both || !r || !s || ECDSA_SIG_set0(both.get(), r.get(), s.get()) != 1) return {};
  static_cast<void>(r.release());  // they belong to the signature now
  static_cast<void>(s.release());
  unsigned char* der = nullptr;
  const int length = i2d_ECDSA_SIG(both.get(), &der);
  if (length <= 0) return {};
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return text;
}

bool is_signed_by(EVP_PKEY* key, KeyKind kind, const Jwt& jwt) {
  const std::string der = kind == KeyKind::p256 || kind == KeyKind::p384 || kind == KeyKind::p521
                              ? der_of(jwt.signature, kind)
                              : std::string();
  const std::string_view signature = kind == KeyKind::rsa || kind == KeyKind::ed25519
                                         ? std::string_view(jwt.signature)
                                         : std::string_view(der);
  if (signature.empty()) return false;
  const DigestContext context(EVP_MD_CTX_new());
  return context &&
         EVP_DigestVerifyInit(context.get(), nullptr, digest_of(jwt.algorithm), nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(jwt.signed_text),
                          jwt.signed_text.size()) == 1;
}

bool is_signed_with(std::string_view secret, const Jwt& jwt) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> code{};
  unsigned length = 0;
  if (HMAC(digest_of(jwt.algorithm), secret.data(), static_cast<int>(secret.size()),
           bytes_of(jwt.signed_text), jwt.signed_text.size(), code.data(), &length) == nullptr)
    return false;
  return jwt.signature.size() == length && CRYPTO_memcmp(jwt.signature.data(), code.data(), length) == 0;
}

// ---- JWKS

using nlohmann::json;

/// A member of a JWK that is base64url. Throws KeyError.
std::string member(const json& jwk, const char* name) {
  const auto found = jwk.find(name);
  std::optional<std::string> bytes;
  if (found != jwk.end() && found->is_string()) bytes = from_base64url(found->get<std::string>());
  if (!bytes || bytes->empty()) throw KeyError(std::string("a key of the set has no valid '") + name + "'");
  return *bytes;
}

std::string text_member(const json& jwk, const char* name) {
  const auto found = jwk.find(name);
  return found != jwk.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Pkey from_params(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const PkeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1)
    throw KeyError("a key of the set is not a valid public key");
  return Pkey(key);
}

Pkey rsa_key(const json& jwk) {
  const std::string n = member(jwk, "n");
  const std::string e = member(jwk, "e");
  const Bignum modulus(BN_bin2bn(bytes_of(n), static_cast<int>(n.size()), nullptr));
  const Bignum exponent(BN_bin2bn(bytes_of(e), static_cast<int>(e.size()), nullptr));
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
  return from_params("RSA", builder.get());
}

Pkey curve_key(const json& jwk) {
  const std::string curve = text_member(jwk, "crv");
  const std::size_t length = curve == "P-256" ? 32 : curve == "P-384" ? 48 : curve == "P-521" ? 66 : 0;
  const std::string x = member(jwk, "x");
  const std::string y = member(jwk, "y");
  if (length == 0 || x.size() != length || y.size() != length)
    throw KeyError("a key of the set has a curve other than P-256, P-384 and P-521, or another length");
  const std::string point = '\x04' + x + y;  // not compressed
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.c_str(), 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  return from_params("EC", builder.get());
}

Pkey edwards_key(const json& jwk) {
  const std::string x = member(jwk, "x");
  Pkey key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(x), x.size()));
  if (!key) throw KeyError("a key of the set is not a valid public key");
  return key;
}

}  // namespace

struct KeySet::Key {
  KeyKind kind = KeyKind::secret;
  Pkey public_key;
  std::string secret;
  std::int64_t valid_until_s = 0;
  std::string id = {};
  std::optional<JwtAlgorithm> only = {};  // the set says that it is for this one
};

KeySet::KeySet() = default;
KeySet::KeySet(KeySet&&) noexcept = default;
KeySet& KeySet::operator=(KeySet&&) noexcept = default;
KeySet::~KeySet() = default;

void KeySet::add_secret(std::string secret, std::int64_t valid_until_s) {
  if (!secret.empty()) keys_.push_back({KeyKind::secret, nullptr, std::move(secret), valid_until_s});
}

void KeySet::add_pem(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Pkey key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  ERR_clear_error();
  if (!key) throw KeyError("is not a public key in PEM form (-----BEGIN PUBLIC KEY-----)");
  const KeyKind kind = kind_of(key.get());
  keys_.push_back({kind, std::move(key), {}, 0});
}

void KeySet::add_jwks(std::string_view text, bool takes_secrets) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object() || !document.contains("keys") || !document["keys"].is_array())
    throw KeyError("is not a set of keys (JWKS): an object with the list 'keys'");
  if (document["keys"].size() > kKeysMax)
    throw KeyError("has more than " + std::to_string(kKeysMax) + " keys; leave those out that sign nothing");
  std::size_t added = 0;
  std::string problem;
  for (const json& jwk : document["keys"]) {
    try {
      std::optional<Key> key = read_jwk(jwk, takes_secrets);
      if (!key) continue;
      keys_.push_back(std::move(*key));
      ++added;
    } catch (const KeyError& error) {  // the others are as good as before
      problem = error.what();
    }
  }
  ERR_clear_error();
  if (added == 0)
    throw KeyError(problem.empty() ? "has no key that verifies tokens (RSA, EC or OKP with Ed25519)"
                                   : problem);
}

std::optional<KeySet::Key> KeySet::read_jwk(const json& jwk, bool takes_secrets) {
  if (!jwk.is_object()) throw KeyError("is not a set of keys (JWKS): a key is not an object");
  if (const std::string use = text_member(jwk, "use"); !use.empty() && use != "sig") return std::nullopt;
  const std::string type = text_member(jwk, "kty");
  Key key;
  key.id = text_member(jwk, "kid");
  if (const std::string algorithm = text_member(jwk, "alg"); !algorithm.empty()) {
    key.only = jwt_algorithm(algorithm);
    if (!key.only) return std::nullopt;  // of an algorithm that is not ours
  }
  if (type == "RSA") {
    key.public_key = rsa_key(jwk);
  } else if (type == "EC") {
    key.public_key = curve_key(jwk);
  } else if (type == "OKP" && text_member(jwk, "crv") == "Ed25519") {
    key.public_key = edwards_key(jwk);
  } else if (type == "oct" && takes_secrets) {
    key.secret = member(jwk, "k");
  } else {
    return std::nullopt;
  }
  if (key.public_key) key.kind = kind_of(key.public_key.get());
  return key;
}

std::string public_jwks(std::string_view text) {
  static constexpr std::array kPublicMembers{"kty", "use", "alg", "kid", "crv", "n", "e", "x", "y"};
  const json document = json::parse(text, nullptr, false);
  json keys = json::array();
  if (document.is_object() && document.contains("keys") && document["keys"].is_array()) {
    for (const json& jwk : document["keys"]) {
      if (!jwk.is_object() || text_member(jwk, "kty") == "oct") continue;
      json& kept = keys.emplace_back(json::object());
      for (const char* const name : kPublicMembers)
        if (const std::string value = text_member(jwk, name); !value.empty()) kept[name] = value;
    }
  }
  return json{{"keys", std::move(keys)}}.dump();
}

bool KeySet::is_empty() const { return keys_.empty(); }

bool KeySet::is_for(const Key& key, const Jwt& jwt) {
  const bool is_named = key.id.empty() || jwt.key_id.empty() || key.id == jwt.key_id;
  return is_named && key.kind == kind_for(jwt.algorithm) && (!key.only || *key.only == jwt.algorithm);
}

bool KeySet::may_verify(const Jwt& jwt) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) { return is_for(key, jwt); });
}

bool KeySet::has_named(const Jwt& jwt) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) {
    return is_for(key, jwt) && (jwt.key_id.empty() || key.id == jwt.key_id);
  });
}

bool KeySet::verify(const Jwt& jwt, Millis wall_ms) const {
  std::size_t left = kTriedMax;  // nobody is known yet: a token must not cost a hundred signatures
  const bool is_signed = std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) {
    if (!is_for(key, jwt) || left == 0) return false;
    --left;
    if (key.valid_until_s != 0 && wall_ms >= key.valid_until_s * 1'000) return false;
    return key.kind == KeyKind::secret ? is_signed_with(key.secret, jwt)
                                       : is_signed_by(key.public_key.get(), key.kind, jwt);
  });
  ERR_clear_error();  // a wrong signature leaves something in OpenSSL's queue of this thread
  return is_signed;
}

}  // namespace carillon
