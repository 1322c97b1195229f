"""The codes that no request can raise, and why. Whatever an endpoint declares is not here; tests/unit/test_codes.py compares."""

from aurorasend.codes import Code as C

_TOLD_AS_200 = "Told as 200 (conventions.md §5.2)"
_VERDICT = "A verdict of a step, never an answer (conventions.md §5.2)"
_SCHEDULED = "Of scheduled tasks, which have no path or parameters (mail.md §7)"
_OUTGOING = "A call of a webhook's URL that fails is told as 40707 (management.md §8.3), and a route's URL is not called (§10)"
_SENDERS = "Of a path that the contract does not have (conventions.md §10.8 takes its number and meaning only)"
_LIST = "A listed address is changed or counted, never refused"

# fmt: off
_REASONS: dict[str, tuple[C, ...]] = {
    _TOLD_AS_200: (C.LABEL_CREATED, C.LABEL_DELETED, C.LABEL_UPDATED, C.UNSUBSCRIBE_REMOVED, C.BOUNCE_REMOVED, C.MAIL_SENT),
    _VERDICT: (C.QUOTA_CHECK_PASSED, C.QUOTA_CHECK_PASSED_FOR_NOW, C.MATCH_NOT_NEEDED, C.MATCHED, C.MATCHED_FOR_NOW, C.HTTP_DONE),
    _SCHEDULED: (
        C.INVOKE_NAME_AND_DATES_EMPTY, C.TASK_NAME_EMPTY, C.TASK_NAME_LENGTH, C.RUN_TIME_EMPTY, C.RUN_TIME_INVALID,
        C.RUN_TIME_PAST, C.FILE_NAME_EMPTY, C.FILE_NAME_LENGTH, C.FILE_EXTENSION_EMPTY, C.FILE_EXTENSION_FORBIDDEN,
        C.STORAGE_FULL, C.TASK_CREATED, C.TASK_NOT_CREATED, C.TASK_DELETED, C.TASK_NOT_DELETED, C.TASK_UPDATED,
        C.TASK_NOT_UPDATED, C.FILE_NOT_UPLOADED, C.RUN_TIME_TOO_SOON, C.TASK_REPEATED, C.TASK_UPDATED_TOO_OFTEN,
        C.TASK_DELETE_TOO_LATE, C.TASK_UPDATE_TOO_LATE, C.FILE_UPLOAD_TIMEOUT, C.EMPTY_ATTACHMENTS_INVALID,
    ),
    _OUTGOING: (C.HTTP_ABNORMAL, C.HTTP_FAILED, C.HTTP_ANSWER_INVALID, C.HTTP_OTHER),
    _SENDERS: (
        C.SENDER_EMPTY, C.SENDER_LENGTH, C.SENDER_PREFIX_INVALID, C.SENDER_DOMAIN_LENGTH, C.SENDER_UNKNOWN, C.SENDER_DELETED,
        C.CATEGORY_NAME_EMPTY, C.MAIL_LOG_NOT_ENABLED,
    ),
    f"{_LIST} (data.md §8.2, §10.2, §11.2)": (C.ADDRESS_ALREADY_LISTED,),
    "A bad `expireTime` is 40008 (data.md §10.3)": (C.EXPIRY_DATE_INVALID,),
    "41109 is used instead (management.md §9.1)": (C.USER_UNKNOWN,),
    "A blank `newAddress` keeps the old one (management.md §3.4)": (C.NEW_ALIAS_EMPTY,),
    "Matching compares text: bytes that are none were refused as malformed before (conventions.md §11, §13)": (C.MATCH_FAULT,),
    "Counted in the transaction that takes the mail; when it fails the mail is not queued: 40901 (mail.md §2.3)": (
        C.QUOTA_CHECK_FAILED,
    ),
    "Of signatures, which prove an SMS_USER, and nothing is denied to one (sms.md §2.3, management.md §7.6)": (
        C.SMS_NOT_PERMITTED,
    ),
    "Never emitted (sms.md §11)": (C.SMS_TOO_MANY_PER_FIVE_MINUTES,),
    "Not yet: SMS is not paid from a balance (sms.md §14)": (C.SMS_QUOTA_EXCEEDED,),
    "Not yet: of `smsapi/sendContactListTask` (sms.md §8)": (C.SMS_SCHEDULE_INVALID, C.SMS_SCHEDULE_PAST),
    "Not yet: of `smsapi/sendx`, `sendCode` and `sendVoice` (sms.md §4.2-§4.4)": (C.SMS_TOS_EMPTY, C.SMS_TOS_INVALID),
}
# fmt: on

UNRAISED: dict[C, str] = {code: reason for reason, codes in _REASONS.items() for code in codes}
